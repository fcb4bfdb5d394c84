"""Some clients in one process: stacked along a leading axis, or looped where a model can't be stacked.

The engine `local` is one block of everyone; a cluster holds a block in each of its processes.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sglr.core.batches import batches_at, order_of, steps_of
from sglr.core.checkpoint import digest
from sglr.core.data import Samples
from sglr.core.engine import Scores, Setting
from sglr.core.passes import Gradients, Pass
from sglr.core.scoring import score
from sglr.core.stack import Stack
from sglr.core.types import Uplink, Weights

log = logging.getLogger(__name__)


@dataclass
class _Turn:
    """A cohort's pass over its data: who, and in which order the samples come."""

    cohort: tuple[int, ...]
    order: NDArray[np.int64]  # [n, largest |D_i|] rows of the training samples; the tail of short rows is unused
    sizes: NDArray[np.int64]  # [n] |D_i|


class Block:
    """Clients of one process, with their data.

    Parameters
    ----------
    setting
        The clients and what they need; ``setting.data.indices`` has the rows of the block's clients alone.
    ids
        The clients' ids, ascending; by default 0, 1, … as many as own data.

    Attributes
    ----------
    data
        What the clients own.
    stack
        The clients' segments; the row of a client is its place among ``ids``.

    Notes
    -----
    Samples, weights and optimizer state stay on the device. Clients whose batches have the same size in a step run
    together; padding never reaches a client, since it would corrupt batch statistics.
    """

    def __init__(self, setting: Setting, ids: Sequence[int] | None = None) -> None:
        self.ids = tuple(range(len(setting.data.indices)) if ids is None else ids)
        self._rows = {client: row for row, client in enumerate(self.ids)}
        self._setting, self.data = setting, setting.data
        self.device = setting.device
        first = setting.first_weights
        self.stack = Stack(
            lambda row: setting.segment(self.ids[row]),
            len(self.ids),
            setting.optimizer,
            clip_norm=setting.clip_norm,
            stacked=setting.stacking != "looped" and len(self.ids) > 1,
            device=setting.device,
            first=(lambda row: first(self.ids[row])) if first else None,
        )
        self.inputs = setting.data.train.inputs.to(setting.device)
        self.targets = setting.data.train.targets.to(setting.device)
        self._passes: list[tuple[list[int], Pass]] = []
        if self.stack.stacked and setting.stacking == "auto":
            self._loop_if_unstackable()

    def _loop_if_unstackable(self) -> None:
        """Try two stacked rows on two samples each; loop, and say so once, if the model can't be stacked."""
        reason = self.stack.why_not_stacked(self.some_inputs())
        if reason is not None:
            log.warning("clients run one after another, because this model can't be stacked: %s", reason)
            self.stack.stacked = False

    def some_inputs(self) -> Tensor:
        """Return inputs to try something on: two samples for each of two rows, ``[2, 2, ...]``."""
        samples = self.inputs[torch.arange(4, device=self.device) % len(self.inputs)]
        return torch.unflatten(samples, 0, (2, 2))

    def rows_of(self, clients: Sequence[int]) -> tuple[int, ...]:
        """Return the rows of the stack that hold these clients."""
        return tuple(self._rows[client] for client in clients)

    def begin(self, cohort: tuple[int, ...], epoch: int) -> int:
        """Draw the order of every client's samples; return the number of steps of the longest."""
        rows = [self.data.indices[self._rows[client]].numpy() for client in cohort]
        orders = [order_of(own, self._setting.seed, client, epoch) for own, client in zip(rows, cohort, strict=True)]
        sizes = np.array([len(order) for order in orders], dtype=np.int64)
        table = np.zeros((len(cohort), sizes.max(initial=0)), dtype=np.int64)
        for row, order in zip(table, orders, strict=True):
            row[: len(order)] = order
        self._turn = _Turn(cohort, table, sizes)
        return steps_of(sizes, self._setting.batch_size)

    def forward(self, step: int) -> Uplink | None:
        """Run the clients that have a batch in this step, those of equal batch size together; None if nobody has."""
        setting, turn = self._setting, self._turn
        first, counts = batches_at(step, turn.sizes, setting.batch_size, setting.short_clients)
        present = np.flatnonzero(counts)
        self._passes = []
        if not len(present):
            return None
        sizes = counts[present]
        positions = first[present, None] + np.arange(int(sizes.max()))
        # The tail of a short batch is not used.
        positions = np.minimum(positions, turn.order.shape[1] - 1)
        samples = torch.from_numpy(turn.order[present[:, None], positions])
        ids = tuple(turn.cohort[place] for place in present)
        for size in np.unique(sizes):
            places = np.flatnonzero(sizes == size).tolist()
            rows = self.rows_of([ids[place] for place in places])
            batch = self._batch(samples[places, :size], stacked=self.stack.stacks(rows))
            self._passes.append((places, self.stack.forward(rows, batch)))
        labels = self.targets[samples.to(self.device)]
        return Uplink(self._join(len(present)), labels, ids, tuple(sizes.tolist()))

    def _batch(self, samples: Tensor, *, stacked: bool) -> Tensor:
        """Gather samples ``[n, b, ...]``; images channels-last, with the clients of a stack side by side."""
        samples = samples.to(self.device)
        if self.inputs.dim() != 4:
            return self.inputs[samples]
        if not stacked:
            flat = self.inputs[samples.flatten()].contiguous(memory_format=torch.channels_last)
            return torch.unflatten(flat, 0, samples.shape)
        side_by_side = self.inputs[samples.T].flatten(1, 2).contiguous(memory_format=torch.channels_last)
        return torch.unflatten(side_by_side, 1, (len(samples), -1)).transpose(0, 1)

    def _join(self, present: int) -> Tensor:
        """Lay the outputs of all passes side by side ``[C, b, ...]``, zero where a client has no sample."""
        if len(self._passes) == 1:
            return self._passes[0][1].outputs
        largest = self._passes[-1][1].outputs
        joined = largest.new_zeros(present, *largest.shape[1:])
        for places, part in self._passes:
            joined[places, : part.outputs.shape[1]] = part.outputs
        return joined

    def backward(self, cut_gradients: Tensor, rate: float) -> None:
        """Back-propagate each client's cut-layer gradients ``[C, b, ...]`` through its segment, and step."""
        found: list[tuple[Pass, Gradients]] = []
        for places, part in self._passes:
            whole = len(self._passes) == 1
            own = cut_gradients if whole else cut_gradients[places, : part.outputs.shape[1]]
            found.append((part, self.stack.backward(part, own)))
        # All go back before any steps: to torch, rows are one tensor, and must not change under a backward pass.
        for part, gradients in found:
            self.stack.update(part.rows, gradients.weights, rate)
        self._passes = []

    def collect(self, clients: Sequence[int]) -> dict[str, Tensor]:
        """Return copies of the clients' weights and buffers ``[n, ...]``."""
        return self.stack.weights(self.rows_of(clients))

    def publish(self, weights: Weights, clients: Sequence[int]) -> None:
        """Give the clients the same weights and buffers ``[...]``."""
        self.stack.load(self.rows_of(clients), weights)

    def evaluate(
        self, server: nn.Module, samples: Samples, clients: Sequence[int], shared: Weights | None = None
    ) -> Scores:
        """Score clients, or weights that they share, on the same samples."""
        rows = self.rows_of(clients)
        if shared is None:
            return score(self.stack, rows, server, samples, self._setting.codec)
        before = self.stack.weights(rows[:1])
        self.stack.load(rows[:1], shared)
        scores = score(self.stack, rows[:1], server, samples, self._setting.codec)
        self.stack.load(rows[:1], {name: tensor[0] for name, tensor in before.items()})
        return scores

    def digests(self) -> list[str]:
        """Return the SHA-256 of every client's weights and buffers."""
        rows = self.stack.weights(tuple(range(len(self.ids))))
        return [digest({name: tensor[row] for name, tensor in rows.items()}) for row in range(len(self.ids))]

    def state(self) -> dict[str, Tensor]:
        """Return weights, buffers and optimizer state of all clients."""
        return self.stack.state()

    def restore(self, tensors: Weights) -> None:
        """Take up what `state` returned."""
        self.stack.restore(tensors)
