"""What a model calls on a trial before one of its submodules returns."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sglr.core.errors import UsageError
from sglr.splitting.nest import Nest, leaves_of
from sglr.splitting.several_inputs import other_inputs

BATCHES = (2, 3)
"""Sizes of the batches that are tried."""


@dataclass(frozen=True)
class Row:
    """A tensor whose first sizes may be multiples of the batch's.

    Parameters
    ----------
    sizes
        Of each dimension.
    per_sample
        Whether a size is for one sample, and the batch has that many times as much.
    dtype
        Its type.
    """

    sizes: tuple[int, ...]
    per_sample: tuple[bool, ...]
    dtype: torch.dtype

    def filled(self, batch: int, device: torch.device, fill: float) -> Tensor:
        """Return a tensor of one value for a batch."""
        shape = [size * batch if many else size for size, many in zip(self.sizes, self.per_sample, strict=True)]
        return torch.full(shape, fill if self.dtype.is_floating_point else 0, dtype=self.dtype, device=device)


@dataclass(frozen=True)
class Made:
    """What stands in for a submodule's output.

    Parameters
    ----------
    nest
        How its values are nested.
    values
        Each of them: a `Row`, or a constant.
    """

    nest: Nest
    values: tuple[Any, ...]

    def value(self, batch: int, device: torch.device, fill: float) -> Any:
        """Return an output of the same form for a batch."""
        leaves = [each.filled(batch, device, fill) if isinstance(each, Row) else each for each in self.values]
        return self.nest.filled(iter(leaves))


@dataclass(frozen=True)
class Record:
    """What happens in a model before one of its submodules returns for the last time.

    Parameters
    ----------
    name
        The submodule.
    calls
        How often it is called.
    skipped
        By submodule, what stands in for each of its calls before; those that were in others are left out.
    output
        The form of its output.
    rows
        How many rows of it are of one sample.
    """

    name: str
    calls: int
    skipped: dict[str, tuple[Made, ...]]
    output: Made
    rows: int


@dataclass(frozen=True)
class _Call:
    """A call of a submodule that ended, and when those around it began."""

    path: str
    output: Any
    began: int
    ended: int


def recorded(root: nn.Module, name: str, example: Tensor) -> Record:
    """Run copies of a model on trials and record what happens before the submodule ``name`` returns.

    Raises
    ------
    UsageError
        If it is never called, or what is called depends on the batch.
    """
    passes = [_calls(root, inputs) for inputs in trials(root, example)[: len(BATCHES)]]
    first, second = passes
    if [call.path for call in first] != [call.path for call in second]:
        raise UsageError("cut", name, "which layers the model calls depends on the batch", "cut elsewhere")
    if not any(call.path == name for call in first):
        raise UsageError("cut", name, "the model never calls this layer directly", "name a layer that it calls")
    last = max(at for at, call in enumerate(first) if call.path == name)
    skipped: dict[str, tuple[Made, ...]] = {name: ()}
    for at in _outermost(first[: last + 1]):
        call = first[at]
        if at != last:
            made = _made(call.path, call.output, second[at].output)
            skipped[call.path] = (*skipped.get(call.path, ()), made)
    output = _made(name, first[last].output, second[last].output)
    calls = sum(call.path == name for call in first[: last + 1])
    return Record(name, calls, skipped, output, _rows(name, output))


def called(root: nn.Module, example: Tensor) -> list[str]:
    """Return the submodules that a model calls, in the order of their last ends."""
    paths = [call.path for call in _calls(root, trials(root, example)[0])]
    return [path for at, path in enumerate(paths) if path not in paths[at + 1 :]]


def trials(root: nn.Module, example: Tensor) -> list[Tensor]:
    """Return inputs to try a model on: two, three, and two others."""
    two = example[:2]
    varied = other_inputs(root, two)
    return [two, torch.cat([two, varied[:1]]), varied]


def _calls(root: nn.Module, inputs: Tensor) -> list[_Call]:
    """Return the calls of submodules in one pass, in the order of their ends."""
    twin = deepcopy(root).eval()
    found: list[_Call] = []
    begun: list[int] = []
    clock = iter(range(1 << 60))
    with ExitStack() as hooks:
        for path, module in twin.named_modules():
            if not path:
                continue

            def before(*_: Any) -> None:
                begun.append(next(clock))

            def after(_: Any, given: Any, output: Any, path: str = path) -> None:
                del given
                found.append(_Call(path, output, begun.pop(), next(clock)))

            for handle in (module.register_forward_pre_hook(before), module.register_forward_hook(after)):
                hooks.callback(handle.remove)
        with torch.random.fork_rng([]), torch.no_grad():
            twin(inputs.clone())
    return found


def _outermost(calls: list[_Call]) -> Iterator[int]:
    """Yield the numbers of the calls that happened in no other one that ended before the last one did."""
    for at, call in enumerate(calls):
        if not any(other.began < call.began and call.ended < other.ended for other in calls[at + 1 :]):
            yield at


def _made(path: str, first: Any, second: Any) -> Made:
    nest = Nest.of(first)
    if nest != Nest.of(second):
        raise UsageError("cut", path, "what this layer returns depends on the batch", "cut elsewhere")
    pairs = zip(leaves_of(first), leaves_of(second), strict=True)
    return Made(nest, tuple(_slot(path, one, other) for one, other in pairs))


def _slot(path: str, one: Any, other: Any) -> Any:
    if not isinstance(one, Tensor):
        return one
    sizes = list(zip(one.shape, other.shape, strict=True))
    many = tuple(mine != its for mine, its in sizes)
    if any(varies and mine * BATCHES[1] != its * BATCHES[0] for varies, (mine, its) in zip(many, sizes, strict=True)):
        problem = f"its output has shape {[*one.shape]} for 2 inputs, {[*other.shape]} for 3"
        raise UsageError("cut", path, problem, "cut elsewhere")
    shape = tuple(mine // BATCHES[0] if varies else mine for varies, (mine, _) in zip(many, sizes, strict=True))
    return Row(shape, many, one.dtype)


def _rows(name: str, output: Made) -> int:
    for value in output.values:
        if isinstance(value, Row) and value.per_sample and value.per_sample[0]:
            return value.sizes[0]
    raise UsageError("cut", name, "its output does not have the batch as first dimension", "cut elsewhere")
