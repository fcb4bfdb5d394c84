"""One child of every segment in a stack, run by itself: the tail of clients whose segments are two, or the head."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sglr.core.weights import below
from sglr.stacking.passes import Gradients, Pass, run_backward, run_forward
from sglr.stacking.rows import Rows
from sglr.stacking.runner import Runner


class SubStack(Rows):
    """A child of every row's segment; its weights are the stack's own, so that it has no steps of its own to take.

    Parameters
    ----------
    whole
        Whose rows.
    template
        The whole segment without weights of its own.
    child
        The child's name.
    inputs
        Shape of what it takes of one sample.
    """

    def __init__(self, whole: Rows, template: nn.Module, child: str, inputs: tuple[int, ...]) -> None:
        self._whole, self._inputs, prefix = whole, inputs, f"{child}."
        names = {id(weight): name for name, weight in template.named_parameters()}
        template = template.get_submodule(child)
        # A weight that the child shares with another part has the name of its first place.
        own = {name: names[id(weight)] for name, weight in template.named_parameters() if weight.requires_grad}
        self.parameters = {name: whole.parameters[first] for name, first in own.items()}
        self.buffers = below(prefix, whole.buffers)
        places = {name: place for place, name in enumerate(whole.parameters)}
        self._places = [places[first] for first in own.values()]
        self._shared = [not first.startswith(prefix) for first in own.values()]
        self.runner = Runner(template, whole.runner.precision, whole.device)
        self.module: nn.Module | None = None if whole.module is None else whole.module.get_submodule(child)
        self.row_parameters = [tuple(row[place] for place in self._places) for row in whole.row_parameters]
        self.device = whole.device

    def forward(self, rows: tuple[int, ...], inputs: Tensor) -> Pass:
        """Run the chosen rows in training mode on inputs of their own ``[n, b, ...]``, for gradients by these too."""
        self.runner.by_matmul, self.parallel = self._whole.runner.by_matmul, self._whole.parallel
        return run_forward(self, rows, inputs, by_inputs=True)

    def backward(self, forward: Pass, loss_gradients: Tensor) -> Gradients:
        """Return the gradients of a pass, given those of each row's own loss by its outputs ``[n, b, ...]``."""
        return run_backward(forward, loss_gradients)

    def added(self, whole: list[Tensor], own: list[Tensor]) -> list[Tensor]:
        """Return the stack's gradients with those of the part in their places.

        A pass elsewhere has none of them, but of weights that it shares with the part.
        """
        joined = list(whole)
        for place, gradient, shared in zip(self._places, own, self._shared, strict=True):
            joined[place] = whole[place] + gradient if shared else gradient
        return joined

    def some_inputs(self, *batch: int) -> Tensor:
        """Return zeros ``[*batch, ...]`` to try the part on."""
        return torch.zeros(*batch, *self._inputs, device=self.device)

    def stacks(self, rows: Sequence[int]) -> bool:
        """Say whether these rows run as one call."""
        return self._whole.stacks(rows)

    def predict(self, rows: tuple[int, ...], inputs: Tensor) -> Tensor:
        """Run the chosen rows in evaluation mode, each on inputs of its own ``[n, m, ...]``."""
        with torch.no_grad():
            if not self.stacks(rows):
                each = zip(rows, inputs, strict=True)
                return torch.stack([self.call(row, own, training=False) for row, own in each])
            weights, buffers = self.take(self.parameters, rows), self.take(self.buffers, rows)
            return self.runner.predict_rows(weights, buffers, inputs.transpose(0, 1), shared=False).transpose(0, 1)
