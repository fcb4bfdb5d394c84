"""Rows: copies of one module whose tensors lie side by side, and how one of them, or several as one call, run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from sglr.core.weights import Weights
from sglr.stacking.runner import Runner


class Rows(ABC):
    """Copies of one module.

    Attributes
    ----------
    parameters, buffers
        Every copy's by name, ``[R, ...]``.
    row_parameters
        Each row of the parameters as parameters of its own: views, in the order of ``parameters``.
    runner
        What runs the module with the tensors of one row, or of several as one call.
    module
        The copy as a module that shares its weights, where there is one copy; else None.
    device
        Where the tensors live.
    parallel
        Whether rows that don't run as one call run side by side in threads, where torch has several.
    """

    parameters: dict[str, Tensor]
    buffers: dict[str, Tensor]
    row_parameters: list[tuple[nn.Parameter, ...]]
    runner: Runner
    module: nn.Module | None
    device: torch.device
    parallel: bool = False

    @abstractmethod
    def stacks(self, rows: Sequence[int]) -> bool:
        """Say whether these rows run as one call."""

    def in_threads(self, rows: Sequence[int]) -> bool:
        """Say whether these rows, looped, run side by side in threads."""
        here = self.device.type == "cpu" and not self.runner.precision.compiled
        return self.parallel and here and len(rows) > 1 and torch.get_num_threads() > 1

    def call(self, row: int, inputs: Tensor, *, training: bool, worker: int = 0) -> Tensor:
        """Run one row on ``[b, ...]``, by itself; no two threads may be the same ``worker`` at once."""
        precision = self.runner.precision
        if self.module is not None and not (training and precision.compiled):
            with precision.mixed(self.device):
                return precision.single(self.module.train(training)(inputs))
        weights: dict[str, Tensor] = dict(zip(self.parameters, self.row_parameters[row], strict=True))
        # Layers keep their buffers for the backward pass, before which another row may change the stack of them.
        buffers = {name: tensor[row] for name, tensor in self.buffers.items()}
        runner = self.runner.of_worker(worker)
        run = runner.train_one if training else runner.predict_one
        outputs, moved = run(weights, buffers, inputs)
        with torch.no_grad():
            for name, tensor in moved.items():
                self.buffers[name][row] = tensor
        return outputs

    def take(self, tensors: Mapping[str, Tensor], rows: tuple[int, ...]) -> dict[str, Tensor]:
        """Return the chosen rows of parameters or buffers: neighbours as they are, others as copies."""
        index = index_of(rows)
        return {name: tensor.detach()[index] for name, tensor in tensors.items()}

    def put_buffers(self, rows: tuple[int, ...], moved: Weights) -> None:
        """Set the buffers of the chosen rows to ``[n, ...]``."""
        index = index_of(rows)
        with torch.no_grad():
            for name, tensor in moved.items():
                self.buffers[name][index] = tensor


def index_of(rows: tuple[int, ...]) -> slice | list[int]:
    """Index rows; neighbours by a slice, which copies nothing and sends no list of numbers to a GPU."""
    ascending = range(rows[0], rows[0] + len(rows)) if rows else range(0)
    return slice(ascending.start, ascending.stop) if rows == tuple(ascending) else list(rows)
