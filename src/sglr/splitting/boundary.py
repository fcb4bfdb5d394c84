"""Cut a model that no tracer takes behind a submodule: the real forward is run up to it, and resumed from it.

The lower part is the model itself, stopped where the submodule returns. The upper part is the model itself, too: what
was computed before is not computed again, since submodules that were called before return zeros of their shape at
once, and the last submodule of the lower part returns what arrived. This is the model where nothing behind the
submodule uses anything else from before it, which is tried: the parts give the model's output bit for bit, and the same
one whatever stands in for what came before.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from sglr.core.errors import UsageError
from sglr.splitting.calls import Made, Record, called, recorded, trials
from sglr.splitting.derived import derive
from sglr.splitting.graph import shared_weights
from sglr.splitting.nest import Nest, leaves_of
from sglr.splitting.sequence import around
from sglr.splitting.usage import Usage, usage_of

ELSEWHERE = "cut behind a layer whose output is all that later layers use, such as a whole block"


def cut_at_boundary(root: nn.Module, name: str, example: Tensor) -> tuple[nn.Module, nn.Module]:
    """Return the model up to and behind a submodule.

    Parameters
    ----------
    root
        Any module that takes one input; it stays as it is.
    name
        The submodule.
    example
        Inputs ``[b, ...]``, b >= 2, to try the parts on.

    Raises
    ------
    UsageError
        If the model does not call the submodule, what it computes is not the same for every size of the batch, or
        values other than the submodule's output are used behind it.
    """
    record = recorded(root, name, example)
    lower, upper = _stopping(root, record), _resuming(root, record, example)
    two = example[:2]
    below, above = usage_of(lower, two.clone()), usage_of(upper, record.output.value(len(two), two.device, 0.5))
    _refuse_shared(root, name, below, above)
    lower.stubs, upper.rest_stubs = _reduced(lower, below), _reduced(upper, above)
    _check(root, lower, upper, name, example)
    return lower, upper


def stopped_behind(root: nn.Module, name: str, example: Tensor) -> nn.Module:
    """Return the model up to a submodule; for the parameters and errors see `cut_at_boundary`."""
    lower = _stopping(root, recorded(root, name, example))
    lower.stubs = _reduced(lower, usage_of(lower, example[:2].clone()))
    part: nn.Module = lower
    return part


def boundaries(root: nn.Module, example: Tensor) -> list[str]:
    """Return the submodules that a model can be cut behind, in the order of execution.

    Tried are the children of the model, and of its children that are lists or sequences of layers. Where several end
    together, the outermost is named.
    """
    found = [name for name in called(root, example) if _is_tried(root, name)]
    return [name for name in found if not _ends_with(name, found) and _can_cut(root, name, example)]


def _is_tried(root: nn.Module, name: str) -> bool:
    return all(type(root.get_submodule(path)) in _CONTAINERS for path in around(name)[1:])


def _ends_with(name: str, others: list[str]) -> bool:
    """Return whether a layer is the last one of a sequence that is named, too."""
    parent = name.rpartition(".")[0]
    return parent in others and name == [each for each in others if each.startswith(f"{parent}.")][-1]


def _can_cut(root: nn.Module, name: str, example: Tensor) -> bool:
    try:
        cut_at_boundary(root, name, example)
    except UsageError:
        return False
    return True


_CONTAINERS = (nn.ModuleList, nn.ModuleDict, nn.Sequential)


class _Stop(Exception):  # noqa: N818 - it is no error
    """Ends a forward pass at the cut."""

    def __init__(self, output: Any) -> None:
        super().__init__()
        self.output = output


class _Stopping(nn.Module):
    """A model that ends where one of its submodules returns for the last time."""

    stops_behind: str
    calls: int
    stubs: tuple[tuple[str, str], ...]

    def forward(self, inputs: Tensor) -> Any:
        """Return what the submodule returns."""
        left = self.calls
        _place(self, self.stubs, inputs.device)

        def stop(module: nn.Module, given: Any, output: Any) -> None:
            del module, given
            nonlocal left
            left -= 1
            if not left:
                raise _Stop(output)

        handle = self.get_submodule(self.stops_behind).register_forward_hook(stop)
        try:
            super().forward(inputs)
        except _Stop as stopped:
            return stopped.output
        finally:
            handle.remove()
        problem = "the model did not call this layer as often as in its trial"
        raise UsageError("cut", self.stops_behind, problem, ELSEWHERE)

    def extra_repr(self) -> str:
        """Say where it ends, on which both sides must agree."""
        return f"stops_behind={self.stops_behind!r}"


class _Skipped(nn.Module):
    """A submodule that returns at once what is made for its first calls."""

    made: tuple[Made, ...]
    following: Iterator[Any]

    def forward(self, *given: Any, **named: Any) -> Any:
        """Return the next value that is made, or what the submodule itself returns once there is none."""
        for value in self.following:
            return value
        return super().forward(*given, **named)


class _Resuming(nn.Module):
    """A model that goes on where one of its submodules has returned."""

    resumes_behind: str
    skipped: tuple[str, ...]
    rest_stubs: tuple[tuple[str, str], ...]
    input_shape: tuple[int, ...]
    input_dtype: torch.dtype
    rows: int
    fill: float

    def forward(self, arrived: Any) -> Any:
        """Return the model's output for what the submodule returned."""
        first = next(leaf for leaf in leaves_of(arrived) if isinstance(leaf, Tensor))
        batch, device = len(first) // self.rows, first.device
        _place(self, self.rest_stubs, device)
        modules: dict[str, Any] = {path: self.get_submodule(path) for path in self.skipped}
        for path, module in modules.items():
            made = [each.value(batch, device, self.fill) for each in module.made]
            module.following = iter([*made, arrived] if path == self.resumes_behind else made)
        nothing = torch.zeros(batch, *self.input_shape, dtype=self.input_dtype, device=device)
        try:
            return super().forward(nothing)
        finally:
            for module in modules.values():
                module.following = iter(())

    def extra_repr(self) -> str:
        """Say where it begins."""
        return f"resumes_behind={self.resumes_behind!r}"


def _stopping(root: nn.Module, record: Record) -> Any:
    lower: Any = derive(deepcopy(root), _Stopping)
    lower.stops_behind, lower.calls, lower.stubs = record.name, record.calls, ()
    return lower


def _resuming(root: nn.Module, record: Record, example: Tensor) -> Any:
    upper: Any = derive(deepcopy(root), _Resuming)
    upper.resumes_behind, upper.rows, upper.fill = record.name, record.rows, 0.0
    upper.rest_stubs, upper.input_shape, upper.input_dtype = (), tuple(example.shape[1:]), example.dtype
    upper.skipped = tuple(record.skipped)
    for path, made in record.skipped.items():
        module: Any = derive(upper.get_submodule(path), _Skipped)
        module.made, module.following = made, iter(())
    return upper


def _reduced(part: nn.Module, usage: Usage) -> tuple[tuple[str, str], ...]:
    """Take out weights and buffers that a part does not need; the submodules stay, which code may count.

    What operations are given without need is replaced by zeros, which are no weights; returned is where they are.
    """
    stubs = []
    for path, module in part.named_modules(remove_duplicate=False):
        for held in (module._parameters, module._buffers):
            for attribute, tensor in list(held.items()):
                name = f"{path}.{attribute}".lstrip(".")
                if tensor is None or name in usage.needed:
                    continue
                held[attribute] = None
                if name in usage.touched:
                    del held[attribute]
                    object.__setattr__(module, attribute, torch.zeros_like(tensor, requires_grad=False))
                    stubs.append((path, attribute))
    return tuple(stubs)


def _place(part: nn.Module, stubs: tuple[tuple[str, str], ...], device: torch.device) -> None:
    """Move what stands in for weights to where the data are."""
    for path, attribute in stubs:
        module = part.get_submodule(path)
        if getattr(module, attribute).device != device:
            object.__setattr__(module, attribute, getattr(module, attribute).to(device))


def _refuse_shared(root: nn.Module, name: str, lower: Usage, upper: Usage) -> None:
    """Refuse trained weights, and buffers that are changed, on both sides; constant ones may be copied."""
    trained = {each for each, weight in root.named_parameters(remove_duplicate=False) if weight.requires_grad}
    shared = lower.needed & upper.needed & (trained | lower.changed | upper.changed)
    if shared:
        raise shared_weights(name, sorted(shared))


@contextmanager
def _filled(upper: Any, value: float) -> Iterator[None]:
    upper.fill = value
    try:
        yield
    finally:
        upper.fill = 0.0


def _check(root: nn.Module, lower: nn.Module, upper: Any, name: str, example: Tensor) -> None:
    whole, first, second = (deepcopy(each).eval() for each in (root, lower, upper))
    for inputs in trials(root, example):
        with torch.random.fork_rng([]), torch.no_grad():
            wanted = whole(inputs.clone())
            arrived = first(inputs.clone())
            try:
                same = [_same(second(arrived), wanted)]
                with _filled(second, 0.7):
                    same.append(_same(second(arrived), wanted))
            except Exception as error:  # code that goes on with zeros may raise anything
                said = f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
                problem = f"the model can't go on from this layer's output alone ({said})"
                raise UsageError("cut", name, problem, ELSEWHERE) from error
        if not all(same):
            problem = "what comes behind this layer uses other values from before it, too, as a skip connection does"
            raise UsageError("cut", name, problem, ELSEWHERE)


def _same(one: Any, other: Any) -> bool:
    if Nest.of(one) != Nest.of(other):
        return False
    pairs = zip(leaves_of(one), leaves_of(other), strict=True)
    return all(torch.equal(mine, its) if isinstance(mine, Tensor) else mine == its for mine, its in pairs)
