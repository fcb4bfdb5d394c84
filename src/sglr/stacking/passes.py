"""Forward and backward passes through rows of one stack, or of several stacks of one architecture, as one call.

Rows run either *stacked*, as one call through ``torch.func.vmap``, or *looped*, one call per row; both give the same
numbers. Under vmap the rows are the second axis, ``[b, R, ...]``: the rule of a convolution is then a view and one
grouped convolution, without moving memory, and the channels-last layout survives it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

import torch
from torch import Tensor

from sglr.core.weights import Weights
from sglr.system.eager import backward

if TYPE_CHECKING:
    from sglr.stacking.stack import Stack
    from sglr.stacking.sub_stack import SubStack


@dataclass(frozen=True)
class Job:
    """A forward pass to run.

    Parameters
    ----------
    stack, rows
        Which rows of which stack, or of which part of it, n of them, ascending.
    inputs
        ``[n, b, ...]``: every sample real, since padding would reach batch statistics.
    by_inputs
        True if gradients by the inputs will be wanted.
    """

    stack: Stack | SubStack
    rows: tuple[int, ...]
    inputs: Tensor
    by_inputs: bool = False


@dataclass(eq=False)
class Graph:
    """What the backward pass of one call needs; the call may have run jobs of several stacks.

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
    waiting
        How many of the jobs have not gone back yet.
    """

    outputs: tuple[Tensor, ...]
    leaves: tuple[Tensor, ...]
    parameters: int
    by_inputs: bool
    stacked: bool
    waiting: int

    def gradients(self, arrived: Tensor) -> Gradients:
        """Return gradients of all rows, given those of each row's own loss by its outputs, ``[R, b, ...]``."""
        if not self.leaves:
            return Gradients([], None)
        parts = (arrived,) if self.stacked else arrived.unbind()
        if self.outputs[0].requires_grad:
            found = backward(self.outputs, self.leaves, parts, retain_graph=self.waiting > 0)
        else:  # whatever is trained lies behind these outputs
            found = tuple(torch.zeros_like(leaf) for leaf in self.leaves)
        if not self.stacked:
            width = self.parameters + self.by_inputs
            rows = [_join(found[start::width]) for start in range(width)]
        else:
            rows = [*found[: self.parameters], *(by_input.transpose(0, 1) for by_input in found[self.parameters :])]
        return Gradients(rows[: self.parameters], rows[-1] if self.by_inputs else None)


class Gradients(NamedTuple):
    """Gradients of n rows: per parameter ``[n, ...]``, and by the inputs ``[n, b, ...]`` if these were wanted."""

    weights: list[Tensor]
    inputs: Tensor | None


@dataclass(frozen=True)
class Pass:
    """A forward pass of some rows, kept for the backward pass.

    Parameters
    ----------
    rows
        The rows that ran, n of them.
    outputs
        ``[n, b, ...]``, without a graph.
    graph, part
        The call that ran them, and which of its rows they are.
    """

    rows: tuple[int, ...]
    outputs: Tensor
    graph: Graph
    part: slice


class Passes(Protocol):
    """Who runs the passes of a stack."""

    def forward(self, job: Job) -> Pass:
        """Run the rows of a job in training mode."""
        ...

    def backward(self, forward: Pass, loss_gradients: Tensor) -> Gradients:
        """Return the gradients of a pass, given those of each row's own loss by its outputs ``[n, b, ...]``."""
        ...


class Alone:
    """Runs each pass when it is asked for, by itself."""

    def forward(self, job: Job) -> Pass:
        """Run the rows of a job in training mode."""
        return run_forward([job])[0]

    def backward(self, forward: Pass, loss_gradients: Tensor) -> Gradients:
        """Return the gradients of a pass."""
        return run_backward([(forward, loss_gradients)])[0]


def run_forward(jobs: Sequence[Job]) -> list[Pass]:
    """Run jobs in training mode: several as one stacked call; one by itself stacked or looped, as its stack says.

    Parameters
    ----------
    jobs
        Of stacks of one architecture, inputs of one shape but for the number of rows.
    """
    if len(jobs) == 1 and not jobs[0].stack.stacks(jobs[0].rows):
        return [_run_looped(jobs[0])]
    return _run_stacked(jobs)


def _run_stacked(jobs: Sequence[Job]) -> list[Pass]:
    stacks = [(job.stack, job.rows) for job in jobs]
    weights = _beside([stack.take(stack.parameters, rows) for stack, rows in stacks])
    buffers = _beside([stack.take(stack.buffers, rows) for stack, rows in stacks])
    leaves = {name: tensor.detach().requires_grad_() for name, tensor in weights.items()}
    inputs = side_by_side([job.inputs for job in jobs])
    by_inputs = jobs[0].by_inputs
    if by_inputs:
        inputs = inputs.detach().requires_grad_()
    mapped, moved = jobs[0].stack.runner.train_rows(leaves, buffers, inputs)
    outputs = mapped.transpose(0, 1)
    everything = (*leaves.values(), inputs) if by_inputs else tuple(leaves.values())
    graph = Graph((outputs,), everything, len(leaves), by_inputs, stacked=True, waiting=len(jobs))
    passes, end = [], 0
    for stack, rows in stacks:
        part = slice(end, end := end + len(rows))
        stack.put_buffers(rows, {name: tensor[part] for name, tensor in moved.items()})
        passes.append(Pass(rows, outputs.detach()[part], graph, part))
    return passes


def _beside(rows: Sequence[Weights]) -> Weights:
    if len(rows) == 1:
        return rows[0]
    return {name: torch.cat([own[name] for own in rows]) for name in rows[0]}


def side_by_side(inputs: Sequence[Tensor]) -> Tensor:
    """Lay inputs ``[n, b, ...]`` of several jobs side by side ``[b, R, ...]``; images channels-last."""
    turned = [tensor.transpose(0, 1) for tensor in inputs]
    if len(turned) == 1:
        return turned[0]
    if turned[0].dim() != 5:
        return torch.cat(turned, 1)
    flat = [tensor.flatten(1, 2).contiguous(memory_format=torch.channels_last) for tensor in turned]
    return torch.unflatten(torch.cat(flat, 1), 1, (-1, turned[0].shape[2]))


def _run_looped(job: Job) -> Pass:
    stack, rows = job.stack, job.rows
    outputs: list[Tensor] = []
    leaves: list[Tensor] = []
    for row, sample in zip(rows, job.inputs.detach().unbind(), strict=True):
        own = sample.requires_grad_() if job.by_inputs else sample
        outputs.append(stack.call(row, own, training=True))
        leaves += [*stack.row_parameters[row], *([own] if job.by_inputs else [])]
    graph = Graph(tuple(outputs), tuple(leaves), len(stack.parameters), job.by_inputs, stacked=False, waiting=1)
    return Pass(rows, _join(outputs).detach(), graph, slice(0, len(rows)))


def _join(rows: Sequence[Tensor]) -> Tensor:
    return torch.stack(list(rows)) if len(rows) > 1 else rows[0][None]


def run_backward(asked: Sequence[tuple[Pass, Tensor]]) -> list[Gradients]:
    """Return the gradients of passes that ran in one call, given those of each row's own loss by its outputs.

    Rows of that call that are not asked for yet go back as zeros, and can go back later.
    """
    graph = asked[0][0].graph
    graph.waiting -= len(asked)
    outputs = graph.outputs[0] if graph.stacked else _join([tensor.detach() for tensor in graph.outputs])
    # In the outputs' own layout: layers that get it in another copy it again and again.
    arrived = torch.empty_like(outputs, requires_grad=False)
    if sum(len(forward.rows) for forward, _ in asked) < len(outputs):
        arrived.zero_()
    for forward, gradients in asked:
        arrived[forward.part] = gradients
    found = graph.gradients(arrived)
    return [
        Gradients(
            [tensor[forward.part] for tensor in found.weights],
            None if found.inputs is None else found.inputs[forward.part],
        )
        for forward, _ in asked
    ]
