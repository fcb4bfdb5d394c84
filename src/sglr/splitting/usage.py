"""Which weights and buffers a part of a model needs: those that its output is made of, and those that it changes."""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from sglr.splitting.nest import leaves_of
from sglr.system.eager import EagerMode


class Usage(NamedTuple):
    """The weights and buffers of a part, by name; each has all names that it is registered under.

    Parameters
    ----------
    needed
        Those that the output is made of, and buffers that a pass in training mode changes.
    changed
        Buffers that a pass in training mode changes.
    touched
        All that an operation was given, whatever became of the result.
    """

    needed: set[str]
    changed: set[str]
    touched: set[str]


def usage_of(part: nn.Module, given: Any) -> Usage:
    """Run copies of a part on what it is given, in both modes, and return which weights and buffers it uses."""
    found = [_watched(deepcopy(part).train(training), given) for training in (False, True)]
    return Usage(*(set[str]().union(*each) for each in zip(*found, strict=True)))


def _watched(twin: nn.Module, given: Any) -> Usage:
    before = {name: buffer.clone() for name, buffer in twin.named_buffers(remove_duplicate=False)}
    watch = _Watch([*twin.named_parameters(remove_duplicate=False), *twin.named_buffers(remove_duplicate=False)])
    with torch.random.fork_rng([]), torch.no_grad(), watch:
        output = twin(given)
    buffers = dict(twin.named_buffers(remove_duplicate=False))
    changed = {name for name, value in before.items() if not torch.equal(value, buffers[name])}
    return Usage(watch.behind(leaves_of(output)) | changed, changed, watch.touched)


class _Watch(EagerMode):
    """Follows weights through operations: what an operation returns is made of all that its arguments are made of.

    Attributes
    ----------
    touched
        Names of weights that an operation was given.
    """

    def __init__(self, held: Iterable[tuple[str, Tensor]]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._made_of: dict[int, set[str]] = {}
        self._kept: list[Tensor] = []  # so that no memory is used again
        for name, tensor in held:
            self._made_of.setdefault(_place(tensor), set()).add(name)
        self._held = {place: {*names} for place, names in self._made_of.items()}
        self.touched = set[str]()

    def behind(self, values: Iterable[Any]) -> set[str]:
        """Return the names of the weights that values are made of."""
        return set[str]().union(*(self._made_of.get(_place(each), ()) for each in values if isinstance(each, Tensor)))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = kwargs or {}
        tensors = [leaf for leaf in leaves_of((args, given)) if isinstance(leaf, Tensor)]
        names = self.behind(tensors)
        for tensor in tensors:
            self.touched |= self._held.get(_place(tensor), set())
        output = func(*args, **given)
        for leaf in leaves_of(output):
            if isinstance(leaf, Tensor) and names:
                self._made_of.setdefault(_place(leaf), set()).update(names)
                self._kept.append(leaf)
        return output


def _place(tensor: Tensor) -> int:
    """Return where a tensor's values are, which it shares with its views."""
    return tensor.untyped_storage().data_ptr()
