"""Forward and backward passes through rows of one stack.

Rows run either *stacked*, as one call through ``torch.func.vmap``, or *looped*, one call per row, which may be in
threads side by side; all give the same numbers. Under vmap the rows are the second axis, ``[b, R, ...]``: the rule of
a convolution is then a view and one grouped convolution, without moving memory, and the channels-last layout survives
it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

import torch
from torch import Tensor

from sglr.stacking.rows import Rows
from sglr.stacking.side_by_side import side_by_side
from sglr.system.eager import backward


class Gradients(NamedTuple):
    """Gradients of n rows: per parameter ``[n, ...]``, and by the inputs ``[n, b, ...]`` if these were wanted."""

    weights: list[Tensor]
    inputs: Tensor | None


@dataclass(frozen=True, eq=False)
class Graph:
    """What the backward pass of a forward pass needs.

    Parameters
    ----------
    outputs
        Stacked, the one ``[R, b, ...]``; looped, each row's ``[b, ...]``.
    leaves
        Stacked, each parameter's ``[R, ...]``, then the inputs ``[b, R, ...]``; looped, each row's in turn.
    parameters
        The number of parameters of one row.
    by_inputs
        True if inputs are among the leaves.
    stacked
        Whether the rows ran as one call.
    parallel
        Whether looped rows go back side by side in threads, as they went forward.
    """

    outputs: tuple[Tensor, ...]
    leaves: tuple[Tensor, ...]
    parameters: int
    by_inputs: bool
    stacked: bool
    parallel: bool = False

    def gradients(self, loss_gradients: Tensor, *, weights: bool = True, inputs: bool = True) -> Gradients:
        """Return the gradients of all rows, given those of each row's own loss by its outputs, ``[R, b, ...]``.

        Those of ``weights`` or ``inputs`` alone cost less; a pass that gives them apart gives the weights' first.
        """
        if not self.leaves:
            return Gradients([], None)
        width = self.parameters + self.by_inputs
        wanted = [*range(self.parameters if weights else 0), *([self.parameters] if inputs and self.by_inputs else [])]
        if not wanted:
            return Gradients([], None)
        places = wanted if self.stacked else [row + one for row in range(0, len(self.leaves), width) for one in wanted]
        leaves = [self.leaves[place] for place in places]
        parts = (loss_gradients,) if self.stacked else loss_gradients.unbind()
        if self.outputs[0].requires_grad:
            found = self._back(leaves, parts, len(wanted), again=self.by_inputs and not inputs)
        else:  # whatever is trained lies behind these outputs
            found = tuple(torch.zeros_like(leaf) for leaf in leaves)
        rows = list(found) if self.stacked else [_join(found[start :: len(wanted)]) for start in range(len(wanted))]
        if wanted[-1] < self.parameters:
            return Gradients(rows, None)
        by_inputs = rows.pop()
        return Gradients(rows, by_inputs.transpose(0, 1) if self.stacked else by_inputs)

    def _back(self, leaves: list[Tensor], parts: Sequence[Tensor], each: int, *, again: bool) -> tuple[Tensor, ...]:
        """Return the gradients of the leaves, of which every looped row has ``each``."""
        if not self.parallel:
            return backward(self.outputs, leaves, parts, again=again)

        def work(_: int, rows: slice) -> tuple[Tensor, ...]:
            own = leaves[rows.start * each : rows.stop * each]
            return backward(self.outputs[rows], own, parts[rows], again=again)

        return tuple(chain.from_iterable(side_by_side(work, len(self.outputs))))


@dataclass(frozen=True, eq=False)
class GroupedGraph:
    """What the backward pass of a forward pass in groups of rows needs.

    Parameters
    ----------
    groups
        The passes of the groups, in the order of rows.
    """

    groups: tuple[Pass, ...]

    by_inputs = False
    """No group gives gradients by inputs."""

    def by_group(self, loss_gradients: Tensor) -> Iterator[list[Tensor]]:
        """Yield the gradients of each group by the weights, computed when they are asked for."""
        arrived = torch.split(loss_gradients, [len(group.rows) for group in self.groups])
        for group, own in zip(self.groups, arrived, strict=True):
            yield run_backward(group, own).weights

    def gradients(self, loss_gradients: Tensor, *, weights: bool = True, inputs: bool = True) -> Gradients:
        """Return the gradients of all rows by the weights, as `Graph.gradients` does."""
        del inputs
        if not weights:
            return Gradients([], None)
        return Gradients([torch.cat(parts) for parts in zip(*self.by_group(loss_gradients), strict=True)], None)


@dataclass(frozen=True)
class Pass:
    """A forward pass of some rows, kept for the backward pass.

    Parameters
    ----------
    rows
        The rows that ran, n of them.
    outputs
        ``[n, b, ...]``, without a graph.
    graph
        What the backward pass needs.
    """

    rows: tuple[int, ...]
    outputs: Tensor
    graph: Graph | GroupedGraph


def run_forward(stack: Rows, rows: tuple[int, ...], inputs: Tensor, *, by_inputs: bool = False) -> Pass:
    """Run rows in training mode, stacked or looped, as the stack says.

    Parameters
    ----------
    stack, rows
        Which rows of which stack, or of which part of it, n of them, ascending.
    inputs
        ``[n, b, ...]``: every sample real, since padding would reach batch statistics.
    by_inputs
        True if gradients by the inputs will be wanted.
    """
    run = run_stacked if stack.stacks(rows) else _run_looped
    return run(stack, rows, inputs, by_inputs=by_inputs)


def run_in_groups(stack: Rows, rows: tuple[int, ...], inputs: Tensor, height: int) -> Pass:
    """Run rows stacked, ``height`` of them as one call; a group may step before the next one goes back."""
    starts = range(0, len(rows), height)
    parts = [slice(start, start + height) for start in starts]
    groups = tuple(run_stacked(stack, rows[part], inputs[part], may_step=True) for part in parts)
    return Pass(rows, torch.cat([group.outputs for group in groups]), GroupedGraph(groups))


def run_stacked(
    stack: Rows, rows: tuple[int, ...], inputs: Tensor, *, by_inputs: bool = False, may_step: bool = False
) -> Pass:
    """Run rows as one call; if others ``may_step`` before these go back, torch does not check that these did not."""
    weights, buffers = stack.take(stack.parameters, rows), stack.take(stack.buffers, rows)
    leaves = {name: (own.data if may_step else own.detach()).requires_grad_() for name, own in weights.items()}
    inputs = inputs.transpose(0, 1)
    if by_inputs:
        inputs = inputs.detach().requires_grad_()
    mapped, moved = stack.runner.train_rows(leaves, buffers, inputs)
    outputs = mapped.transpose(0, 1)
    everything = (*leaves.values(), inputs) if by_inputs else tuple(leaves.values())
    stack.put_buffers(rows, moved)
    return Pass(rows, outputs.detach(), Graph((outputs,), everything, len(leaves), by_inputs, stacked=True))


def _run_looped(stack: Rows, rows: tuple[int, ...], inputs: Tensor, *, by_inputs: bool) -> Pass:
    samples = inputs.detach().unbind()
    if by_inputs:
        samples = tuple(sample.requires_grad_() for sample in samples)

    def work(worker: int, part: slice) -> list[Tensor]:
        own = zip(rows[part], samples[part], strict=True)
        return [stack.call(row, sample, training=True, worker=worker) for row, sample in own]

    parallel = stack.in_threads(rows)
    everyone = slice(0, len(rows))
    outputs = tuple(chain.from_iterable(side_by_side(work, len(rows)) if parallel else [work(0, everyone)]))
    leaves: list[Tensor] = []
    for row, sample in zip(rows, samples, strict=True):
        leaves += [*stack.row_parameters[row], *([sample] if by_inputs else [])]
    graph = Graph(outputs, tuple(leaves), len(stack.parameters), by_inputs, stacked=False, parallel=parallel)
    return Pass(rows, _join(outputs).detach(), graph)


def _join(rows: Sequence[Tensor]) -> Tensor:
    return torch.stack(list(rows)) if len(rows) > 1 else rows[0][None]


def run_backward(forward: Pass, loss_gradients: Tensor, *, weights: bool = True, inputs: bool = True) -> Gradients:
    """Return the gradients of a pass, given those of each row's own loss by its outputs ``[n, b, ...]``."""
    # In the outputs' own layout: layers that get it in another copy it again and again.
    arrived = torch.empty_like(forward.outputs)
    arrived[:] = loss_gradients
    return forward.graph.gradients(arrived, weights=weights, inputs=inputs)
