"""The server's passes through its segment, and how many samples went through them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from sglr.core.events import ServerWork
from sglr.core.weights import Weights
from sglr.stacking.passes import Gradients, Pass
from sglr.stacking.stack import Stack

NAME = "work"


class CountedPasses:
    """Runs passes of stacks, and counts their samples.

    Attributes
    ----------
    work
        What was counted so far; None after a checkpoint that was written before this was counted.
    """

    def __init__(self) -> None:
        self.work: ServerWork | None = ServerWork(0, 0, 0, 0)

    def forward(self, stack: Stack, rows: tuple[int, ...], inputs: Tensor, *, by_inputs: bool = False) -> Pass:
        """Run rows of a stack in training mode: see `Stack.forward`."""
        self._add(inputs, forward=1)
        return stack.forward(rows, inputs, by_inputs=by_inputs)

    def backward(
        self, stack: Stack, forward: Pass, loss_gradients: Tensor, *, weights: bool = True, inputs: bool = True
    ) -> Gradients:
        """Return the gradients of a pass: see `Stack.backward`."""
        inputs = inputs and forward.graph.by_inputs
        self._add(loss_gradients, backward=weights and inputs, to_weights=weights and not inputs, to_inputs=not weights)
        return stack.backward(forward, loss_gradients, weights=weights, inputs=inputs)

    def _add(self, of: Tensor, *, forward: int = 0, backward: int = 0, to_weights: int = 0, to_inputs: int = 0) -> None:
        """Count all samples ``[n, N, ...]`` of n rows as often as is said."""
        if self.work is not None:
            samples, each = of.shape[0] * of.shape[1], (forward, backward, to_weights, to_inputs)
            self.work = ServerWork(*(had + samples * often for had, often in zip(self.work, each, strict=True)))

    def state(self) -> dict[str, Tensor]:
        """Return what a checkpoint needs, by name."""
        return {} if self.work is None else {NAME: torch.tensor(self.work)}

    def restore(self, tensors: Weights) -> None:
        """Restore what `state` returned."""
        self.work = ServerWork(*tensors[NAME].tolist()) if NAME in tensors else None


@contextmanager
def still(stack: Stack) -> Iterator[None]:
    """Put batch statistics back to what they were, once a pass has gone back."""
    before = {name: tensor.clone() for name, tensor in stack.buffers.items()}
    yield
    for name, tensor in before.items():
        stack.buffers[name].copy_(tensor)
