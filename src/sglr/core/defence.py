"""The defence protocol: how a client, or the holder of the labels, changes what it sends so that less leaks.

All hooks are the identity unless a defence has its own, and an engine calls only those that somebody has
(`sglr.parties.defences`): so ``none`` costs nothing and changes no bit. A defence is a frozen dataclass; its fields are
its options (`option`).
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from sglr.core.errors import UsageError
from sglr.core.task import Serves

if TYPE_CHECKING:
    from sglr.core.method import Method

_RENAMED = {
    "disguise": "privatize_smashed",
    "pull": "extra_gradient",
    "perturb": "privatize_gradient",
    "watch": "inspect_gradient",
}
"""Hooks of sglr 0.1, and what they are called now."""


@dataclass(frozen=True)
class Defence:
    """Reduces what one party can learn about another's data.

    Attributes
    ----------
    serves
        Which tasks it works with.
    compares_inputs
        True if `extra_gradient` looks at distances of inputs: it is given no tokens, which have none, and is refused
        where all inputs are tokens.

    Raises
    ------
    UsageError
        If an option is out of its range.
    """

    serves: ClassVar[Serves] = Serves.ANY
    compares_inputs: ClassVar[bool] = False

    def __init_subclass__(cls, **keywords: Any) -> None:
        """Take hooks that are named as in sglr 0.1 for what they are called now, with a warning."""
        super().__init_subclass__(**keywords)
        for old, new in _RENAMED.items():
            if old in vars(cls):
                warnings.warn(f"{cls.__name__}.{old} is now called {new}", DeprecationWarning, stacklevel=2)
                setattr(cls, new, vars(cls)[old])

    def __post_init__(self) -> None:
        """Refuse options out of range."""
        for field in dataclasses.fields(self):
            value, limits = getattr(self, field.name), field.metadata
            if isinstance(value, (bool, str)) or value is None:
                continue
            if not within(value, limits):
                about = f"{field.name} is {limits['help']}; {_told(limits)}"
                raise UsageError("defence", f"{field.name}={value}", "is out of range", about)

    def check(self, method: Method, named: Sequence[tuple[str, Defence]] = ()) -> None:
        """Refuse a method, or defences of the same run, each with its name, with which it can't work.

        Raises
        ------
        UsageError
            If there is no use in it.
        """
        del method, named

    @property
    def draws_secretly(self) -> bool:
        """Whether `privatize_secretly` takes the place of `privatize_smashed`."""
        return False

    def layer(self) -> nn.Module | None:
        """Return a layer without weights behind the client's lower segment, or None; gradients go through it.

        It handles every sample ``[b, ...]`` by itself, and can be mapped by ``torch.func.vmap``.
        """
        return None

    def privatize_smashed(self, smashed: Tensor, rng: torch.Generator) -> Tensor:
        """Return what one client sends instead of ``smashed`` ``[b, ...]``; gradients pass as if it were the same.

        Parameters
        ----------
        smashed
            Smashed data of a step, or of samples that are scored.
        rng
            On the CPU, for this client and step alone.
        """
        del rng
        return smashed

    def privatize_secretly(self, smashed: Tensor, secrets: Sequence[bytes]) -> Tensor:
        """Return what one client sends instead of ``smashed`` ``[b, ...]``, where `draws_secretly`.

        Parameters
        ----------
        smashed
            As for `privatize_smashed`.
        secrets
            For each sample, what all its draws follow from (`sglr.core.random.normals_of`). They depend on a secret of
            the clients, on client, epoch and step, and on the sample's values: a step that is run again sends the same.
        """
        del secrets
        return smashed

    def extra_gradient(self, inputs: Tensor, smashed: Tensor) -> Tensor:
        """Return the gradient of a client's own further loss by its smashed data, ``[b, ...]``.

        It is added to the cut-layer gradient that arrives, which is that of the mean loss over the client's batch.

        Parameters
        ----------
        inputs, smashed
            ``[b, ...]`` each, of one client. Several inputs of a sample are one row.
        """
        del inputs
        return torch.zeros_like(smashed)

    def privatize_gradient(self, gradients: Tensor, labels: Tensor, rng: torch.Generator) -> Tensor:
        """Return what whoever holds the labels sends instead of ``gradients`` ``[b, ...]`` of one client's batch.

        Parameters
        ----------
        gradients
            Each of the mean loss over the client's batch, by one sample's smashed data or features.
        labels
            ``[b]``, or the task's targets ``[b, ...]``.
        rng
            On the CPU, for this client and step alone.
        """
        del labels, rng
        return gradients

    def inspect_gradient(
        self, gradients: Tensor, labels: Tensor, client: int, memory: MutableMapping[str, Any]
    ) -> None:
        """Look at the cut-layer gradients ``[b, ...]`` that a client received for samples of ``labels`` ``[b]``.

        It may raise an error, which ends the training.

        Parameters
        ----------
        memory
            This defence's own about this client, empty at first. After a resume it is what `memory_from` returns.
        """

    def memory_state(self, memory: Mapping[str, Any]) -> dict[str, Tensor]:
        """Return what a checkpoint keeps of the memory about a client: nothing, unless a defence says what."""
        del memory
        return {}

    def memory_from(self, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
        """Return the memory of which a checkpoint kept what `memory_state` returned."""
        del tensors
        return {}


def option(
    default: Any, about: str, *, above: float | None = None, least: float | None = None, most: float | None = None
) -> Any:
    """Return a dataclass field that is an option of a defence.

    Parameters
    ----------
    default
        Its default, which says what it is: a float, an int or a bool.
    about
        What it is, in a few words.
    above, least, most
        Bounds of its value: the first is not allowed itself.
    """
    limits = {name: bound for name, bound in (("above", above), ("least", least), ("most", most)) if bound is not None}
    return dataclasses.field(default=default, metadata={"help": about, **limits})


def within(value: float, limits: Mapping[str, Any]) -> bool:
    """Say whether a number is finite and inside its bounds."""
    finite = value - value == 0
    above, least, most = (limits.get(name) for name in ("above", "least", "most"))
    low = (above is None or value > above) and (least is None or value >= least)
    return finite and low and (most is None or value <= most)


def _told(limits: Mapping[str, Any]) -> str:
    words = {"above": "above", "least": "at least", "most": "at most"}
    bounds = " and ".join(f"{words[name]} {limits[name]:g}" for name in words if name in limits)
    return f"give a finite number {bounds}".rstrip()
