"""Augmentation: clients change the samples of a batch at random before they train on it, each by draws of its own.

A draw is keyed by the seed, the client, the epoch and the sample's place in it. So a sample is changed alike
whatever is in the batch with it, wherever its client lives, from memory or from disk, and after a resume.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sglr.core.defence import within
from sglr.core.errors import UsageError, refuse_long
from sglr.core.random import key
from sglr.core.registry import AUGMENTATIONS
from sglr.core.spec import Spec, options_of
from sglr.core.task import Targets


class Augmentation(ABC):
    """A random change of a training sample. An augmentation is a frozen dataclass; its fields are its options.

    Raises
    ------
    UsageError
        If an option is out of its range (`sglr.core.defence.option`).
    """

    def __post_init__(self) -> None:
        """Refuse options out of range."""
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            value, limits = getattr(self, field.name), field.metadata
            if isinstance(value, float | int) and not within(value, limits):
                bounds = " and ".join(
                    f"{name} {limits[name]:g}" for name in ("above", "least", "most") if name in limits
                )
                problem = f"is out of range ({bounds})" if bounds else "is not finite"
                raise UsageError(
                    "augment", f"{field.name}={value}", problem, f"it is: {limits.get('help', field.name)}"
                )

    @property
    def name(self) -> str:
        """Its name, as in the setting."""
        return type(self).__module__.rpartition(".")[2].replace("_", "-")

    def fitted(self, inputs: Tensor, targets: Targets) -> Self:
        """Return the augmentation for samples like one that is given, with what it takes from it; by default, itself.

        Parameters
        ----------
        inputs
            Those of the sample, ``[...]``; zeros where samples are at sites.
        targets
            What targets are.

        Raises
        ------
        UsageError
            If such samples can't be changed so.
        """
        del inputs, targets
        return self

    @abstractmethod
    def change(self, inputs: Tensor, target: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return the changed inputs ``[...]`` and target ``[...]`` of one sample, of the same shapes and types.

        ``rng``, on the CPU, is the sample's own: torch's global generator is shared by all threads of a process.
        """


class AugmentationChain:
    """The augmentations of a training, in their order; without any, samples stay as they are.

    Parameters
    ----------
    parts
        The augmentations.
    seed
        The experiment's.
    """

    def __init__(self, parts: Sequence[Augmentation] = (), seed: int = 0) -> None:
        self.parts = tuple(parts)
        self._seed = seed

    def fitted(self, inputs: Tensor, targets: Targets) -> Self:
        """Return the augmentations for samples like one with ``inputs`` ``[...]``; raises what a part raises."""
        return type(self)([part.fitted(inputs, targets) for part in self.parts], self._seed)

    def change(
        self, inputs: Tensor, targets: Tensor, clients: Sequence[int], epoch: int, places: NDArray[np.int64]
    ) -> tuple[Tensor, Tensor]:
        """Return changed samples.

        Parameters
        ----------
        inputs, targets
            Those of N samples, ``[N, ...]``.
        clients
            Whose each is.
        epoch
            The epoch.
        places
            Its place in the order in which its client uses its samples in this epoch, ``[N]``.
        """
        rng, changed = torch.Generator(), list[tuple[Tensor, Tensor]]()
        with torch.no_grad():
            for own, target, client, place in zip(inputs, targets, clients, places.tolist(), strict=True):
                rng.manual_seed(key(self._seed, "augment", client, epoch, place))
                for part in self.parts:
                    own, target = part.change(own, target, rng)
                changed.append((own, target))
        new_inputs, new_targets = zip(*changed, strict=True)
        return torch.stack(new_inputs), torch.stack(new_targets)


def parse(text: str, seed: int = 0) -> AugmentationChain:
    """Read ``"horizontal-flip"``, or several augmentations: ``"horizontal-flip+random-crop:padding=4"``.

    Raises
    ------
    UsageError
        If there is no such augmentation, it has no such option, or one is out of range.
    """
    refuse_long("augment", text)
    words = [] if text == "none" else text.split("+")
    return AugmentationChain([_part(Spec.parse("augment", word.strip())) for word in words], seed)


def _part(spec: Spec) -> Augmentation:
    kind: type[Augmentation] = AUGMENTATIONS.load(spec.name.replace("_", "-"))
    known = options_of(kind)
    return kind(**spec.options(known, first=next(iter(known), None)))
