"""Runs a segment with the weights of one row, or of several rows as one call, in the precision that is asked for."""

from __future__ import annotations

import copy
from functools import partial
from itertools import chain

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from sglr.core.weights import Weights
from sglr.stacking.compiled import Compiled, Run
from sglr.stacking.layers import stacked_layers
from sglr.stacking.precision import Precision


class Runner:
    """Runs one segment.

    Parameters
    ----------
    template
        The segment; its own weights don't matter.
    precision
        Precision, and whether to compile.
    device
        Where tensors live.

    Attributes
    ----------
    by_matmul
        True if stacked convolutions run as products of matrices.
    """

    def __init__(self, template: nn.Module, precision: Precision, device: torch.device) -> None:
        self._template, self.precision, self._device = template, precision, device
        self.by_matmul = False
        self._compiled: dict[object, Compiled] = {}
        self._workers: dict[int, Runner] = {}

    def of_worker(self, worker: int) -> Runner:
        """Return the runner of a thread: a call puts a row's weights into the module, so two need one each.

        Weights that are not trained are in all of them the same tensors. Worker 0 is this runner.
        """
        if worker and worker not in self._workers:
            shared = {id(one): one for one in chain(self._template.parameters(), self._template.buffers())}
            own = copy.deepcopy(self._template, shared)
            self._workers.setdefault(worker, Runner(own, self.precision, self._device))
        return self._workers[worker] if worker else self

    def train_rows(self, weights: Weights, buffers: Weights, inputs: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Run rows in training mode: weights and buffers ``[R, ...]``, inputs and outputs ``[b, R, ...]``.

        Returns
        -------
        The outputs, and the buffers as they are afterwards.
        """
        return self._train(partial(self._rows, shared_input=False), weights, buffers, inputs)

    def train_one(self, weights: Weights, buffers: Weights, inputs: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Run one row in training mode: weights and buffers ``[...]``, inputs and outputs ``[b, ...]``."""
        return self._train(self._one, weights, buffers, inputs)

    def predict_one(self, weights: Weights, buffers: Weights, inputs: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Run one row in evaluation mode."""
        self._template.eval()
        return self._one(weights, buffers, inputs)

    def predict_rows(self, weights: Weights, buffers: Weights, inputs: Tensor, *, shared: bool = True) -> Tensor:
        """Run rows in evaluation mode on inputs that they share, ``[b, ...]``; returns ``[b, R, ...]``.

        If inputs are not ``shared``, each row has its own, ``[b, R, ...]``.
        """
        self._template.eval()
        return self._rows(weights, buffers, inputs, shared_input=shared)[0]

    def _train(self, run: Run, weights: Weights, buffers: Weights, inputs: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        self._template.train()
        if not self.precision.compiled:
            return run(weights, buffers, inputs)
        rows = [tuple(tensor.shape) for tensor in weights.values()][:1]
        graph = torch.is_grad_enabled(), inputs.requires_grad
        key = (tuple(inputs.shape), inputs.stride(), graph, self.by_matmul, *rows)
        if key not in self._compiled:
            self._compiled[key] = Compiled(run)
        return self._compiled[key](weights, buffers, inputs)

    def _one(self, weights: Weights, buffers: Weights, inputs: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        # Layers keep their buffers for the backward pass, before which another row may change the stack of them.
        own = {name: tensor.clone() for name, tensor in buffers.items()}
        with self.precision.mixed(self._device):
            outputs = functional_call(self._template, {**weights, **own}, (inputs,))
        return self.precision.single(outputs), own

    def _rows(
        self, weights: Weights, buffers: Weights, inputs: Tensor, *, shared_input: bool
    ) -> tuple[Tensor, dict[str, Tensor]]:
        def run(weights: Weights, buffers: Weights, sample: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
            # Layers update buffers in place, which vmap forbids for captured tensors: clone, then return them.
            own = {name: tensor.clone() for name, tensor in buffers.items()}
            return functional_call(self._template, {**weights, **own}, (sample,)), own

        in_dims = (0, 0, None if shared_input else 1)
        # Outputs that no row's own weights change have no dimension of rows: vmap adds it in front alone.
        mapped = vmap(run, in_dims=in_dims, out_dims=0, randomness="different")
        with stacked_layers(by_matmul=self.by_matmul), self.precision.mixed(self._device):
            outputs, moved = mapped(dict(weights), dict(buffers), inputs)
        return self.precision.single(outputs.transpose(0, 1)), moved
