"""Initial weights of a segment, drawn exactly as building the whole model draws them, without building it.

A model draws its weights in place, one tensor after another, from torch's generator. What it does to its tensors is
recorded once; doing the same with another seed, as far as the last tensor of the segment, gives the weights that the
whole model would have had. It is used only where it gives two models bit for bit, and any model that draws otherwise
is built again for every client.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sglr.core.weights import Weights, state_of
from sglr.system.eager import EagerMode


@dataclass(frozen=True)
class _Deed:
    """Something done to a tensor in place: a method's name and arguments.

    Parameters
    ----------
    name
        The tensor of the segment; None for one that only takes random numbers out of the generator.
    """

    name: str | None
    shape: tuple[int, ...]
    dtype: torch.dtype
    method: str
    arguments: tuple[Any, ...]
    keywords: Mapping[str, Any]
    draws: bool


class _Unknown(Exception):  # noqa: N818 - says what it is
    """The model draws its weights in a way that can't be repeated for one tensor alone."""


class FirstWeights:
    """Draws a segment's initial weights, by the seed under which the whole model would be built.

    Parameters
    ----------
    deeds
        What to do, in order.
    constants
        The segment's tensors, of which those that nothing is done to are the same for every seed.
    """

    def __init__(self, deeds: list[_Deed], constants: Weights) -> None:
        self._deeds, self._constants = deeds, dict(constants)

    @classmethod
    def learn(
        cls,
        build: Callable[[int], nn.Module],
        segment: Callable[[nn.Module], nn.Module],
        *,
        clients: tuple[int, int],
        seed: Callable[[int], int],
    ) -> FirstWeights | None:
        """Learn how a model draws its weights.

        Parameters
        ----------
        build
            Builds the whole model of a client.
        segment
            Cuts the segment off the whole model; both stay as they are.
        clients
            Two clients to compare with what `build` gives.
        seed
            Gives the seed under which a client's model is built.

        Returns
        -------
        FirstWeights or None
            None if the model draws in a way that can't be followed.
        """
        try:
            with _Recording() as recording:
                whole = build(clients[0])
            places = _places(whole, segment)
            own = {name: state_of(whole)[place] for name, place in places.items()}
            found = cls(recording.deeds(own), {name: tensor.clone() for name, tensor in own.items()})
            right = all(_same(found(seed(client)), state_of(segment(build(client)))) for client in clients)
        except Exception:  # a model may do anything while it is built; building it again reports what is wrong
            return None
        return found if right else None

    def __call__(self, seed: int) -> dict[str, Tensor]:
        """Return the weights and buffers of the segment of the model built under ``seed``."""
        generator = torch.Generator().manual_seed(seed)
        tensors = {name: tensor.clone() for name, tensor in self._constants.items()}
        for deed in self._deeds:
            target = torch.empty(deed.shape, dtype=deed.dtype) if deed.name is None else tensors[deed.name]
            keywords = {**deed.keywords, "generator": generator} if deed.draws else deed.keywords
            getattr(target, deed.method)(*deed.arguments, **keywords)
        return tensors


def _same(first: Weights, second: Weights) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def _places(whole: nn.Module, segment: Callable[[nn.Module], nn.Module]) -> dict[str, str]:
    """Return which tensor of the whole model every tensor of the segment is, found by marking them."""
    before = {name: tensor.clone() for name, tensor in state_of(whole).items()}
    marked = dict(enumerate(before, 1))
    for mark, name in marked.items():
        state_of(whole)[name].fill_(mark)
    try:
        return {name: marked[int(tensor.max())] for name, tensor in state_of(segment(whole)).items()}
    finally:
        for name, tensor in state_of(whole).items():
            tensor.copy_(before[name])


class _Recording(EagerMode):
    """Records what is done to tensors in place."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._done: list[tuple[Any, Tensor | None, tuple[Any, ...], Mapping[str, Any]]] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        del types
        found = func(*args, **(kwargs or {}))
        target = args[0] if args and func._schema.is_mutable and isinstance(args[0], Tensor) else None
        if target is not None or _draws(func):
            # Tensors are kept, or their memory would be given to others, which would be taken for them.
            self._done.append((func, target, args[1:], kwargs or {}))
        return found

    def deeds(self, own: Weights) -> list[_Deed]:
        """Return the records up to the last one on one of the tensors ``own``.

        Raises
        ------
        _Unknown
            If something of it can't be done again by itself.
        """
        names = {tensor.untyped_storage().data_ptr(): name for name, tensor in own.items() if tensor.numel()}
        owners = [
            None if target is None else names.get(target.untyped_storage().data_ptr()) for _, target, *_ in self._done
        ]
        last = max((number for number, owner in enumerate(owners) if owner is not None), default=-1)
        steps = zip(self._done[: last + 1], owners, strict=False)
        return [_deed(*done, own, owner) for done, owner in steps if owner is not None or _draws(done[0])]


def _draws(func: Any) -> bool:
    return torch.Tag.nondeterministic_seeded in func.tags


def _deed(
    func: Any,
    target: Tensor | None,
    arguments: tuple[Any, ...],
    keywords: Mapping[str, Any],
    own: Weights,
    name: str | None,
) -> _Deed:
    whole = target is not None and target.is_contiguous() and (name is None or target.shape == own[name].shape)
    if target is None or not whole or any(isinstance(value, Tensor) for value in (*arguments, *keywords.values())):
        raise _Unknown(str(func))
    given = {key: value for key, value in keywords.items() if key != "generator"}
    method = func._schema.name.removeprefix("aten::")
    return _Deed(name, tuple(target.shape), target.dtype, method, arguments, given, _draws(func))
