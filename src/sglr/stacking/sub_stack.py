"""One child of every segment in a stack, run by itself: the tail of clients whose segments are two."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from sglr.core.weights import Weights, below
from sglr.stacking.passes import Gradients, Pass, run_backward, run_forward
from sglr.stacking.runner import Runner

if TYPE_CHECKING:
    from sglr.stacking.stack import Stack


class SubStack:
    """A child of every row's segment; its weights are the stack's own, so that it has no steps of its own to take.

    Parameters
    ----------
    stack
        Whose rows.
    child
        The child's name.
    inputs
        Shape of what it takes of one sample.
    """

    def __init__(self, stack: Stack, child: str, inputs: tuple[int, ...]) -> None:
        self._stack, self._inputs, prefix = stack, inputs, f"{child}."
        self.parameters = below(prefix, stack.parameters)
        self.buffers = below(prefix, stack.buffers)
        self._places = [place for place, name in enumerate(stack.parameters) if name.startswith(prefix)]
        template = stack.template.get_submodule(child)
        self.runner = Runner(template, stack.runner.precision, stack.device)
        self.module: nn.Module | None = None if stack.module is None else stack.module.get_submodule(child)
        self.row_parameters = [tuple(row[place] for place in self._places) for row in stack.row_parameters]
        self.take = stack.take

    def forward(self, rows: tuple[int, ...], inputs: Tensor) -> Pass:
        """Run the chosen rows in training mode on inputs of their own ``[n, b, ...]``, for gradients by these too."""
        self.runner.by_matmul = self._stack.runner.by_matmul
        return run_forward(self, rows, inputs, by_inputs=True)

    def backward(self, forward: Pass, loss_gradients: Tensor) -> Gradients:
        """Return the gradients of a pass, given those of each row's own loss by its outputs ``[n, b, ...]``."""
        return run_backward(forward, loss_gradients)

    def added(self, whole: list[Tensor], own: list[Tensor]) -> list[Tensor]:
        """Return the stack's gradients with those of the part in their places: a pass elsewhere has none of them."""
        joined = list(whole)
        for place, gradient in zip(self._places, own, strict=True):
            joined[place] = gradient
        return joined

    def some_inputs(self, *batch: int) -> Tensor:
        """Return zeros ``[*batch, ...]`` to try the part on."""
        return torch.zeros(*batch, *self._inputs, device=self._stack.device)

    def stacks(self, rows: tuple[int, ...]) -> bool:
        """Say whether these rows run as one call."""
        return self._stack.stacks(rows)

    def put_buffers(self, rows: tuple[int, ...], moved: Weights) -> None:
        """Set the buffers of the chosen rows to ``[n, ...]``."""
        for name, tensor in moved.items():
            self.buffers[name][list(rows)] = tensor

    def call(self, row: int, inputs: Tensor, *, training: bool) -> Tensor:
        """Run one row on ``[b, ...]``, by itself."""
        precision = self.runner.precision
        if self.module is not None and not (training and precision.compiled):
            with precision.mixed(self._stack.device):
                return precision.single(self.module.train(training)(inputs))
        weights: dict[str, Tensor] = dict(zip(self.parameters, self.row_parameters[row], strict=True))
        run = self.runner.train_one if training else self.runner.predict_one
        outputs, moved = run(weights, {name: tensor[row] for name, tensor in self.buffers.items()}, inputs)
        with torch.no_grad():
            for name, tensor in moved.items():
                self.buffers[name][row] = tensor
        return outputs

    def predict(self, rows: tuple[int, ...], inputs: Tensor) -> Tensor:
        """Run the chosen rows in evaluation mode, each on inputs of its own ``[n, m, ...]``."""
        with torch.no_grad():
            if not self.stacks(rows):
                each = zip(rows, inputs, strict=True)
                return torch.stack([self.call(row, own, training=False) for row, own in each])
            weights, buffers = self.take(self.parameters, rows), self.take(self.buffers, rows)
            return self.runner.predict_rows(weights, buffers, inputs.transpose(0, 1), shared=False).transpose(0, 1)
