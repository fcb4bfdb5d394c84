"""All clients in this process, stacked along a leading axis, or looped where a model can't be stacked."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from sglr.core.batches import batches_at, order_of, steps_of
from sglr.core.checkpoint import digest
from sglr.core.data import Samples
from sglr.core.engine import Scores, Setting
from sglr.core.links import Links
from sglr.core.passes import Gradients, Pass
from sglr.core.stack import Stack
from sglr.core.types import Downlink, Tally, Uplink, Weights, below

__all__ = ["Local"]

log = logging.getLogger(__name__)

EVALUATION_VALUES = {"cpu": 1 << 21, "cuda": 1 << 26}
"""Cut-layer values of one evaluation batch over all clients; on a CPU they should stay in its cache."""

LINKS = "links."
"""What tensors of a checkpoint begin with that are memories of links."""


@dataclass
class _Turn:
    """A cohort's pass over its data: who, and in which order the samples come."""

    cohort: tuple[int, ...]
    order: NDArray[np.int64]  # [n, largest |D_i|] rows of the training samples; the tail of short rows is unused
    sizes: NDArray[np.int64]  # [n] |D_i|


class Local:
    """The engine that holds all clients in this process.

    Parameters
    ----------
    setting
        The clients and what they need.

    Notes
    -----
    Samples, weights and optimizer state stay on the device. Clients whose batches have the same size in a step run
    together; padding never reaches a client, since it would corrupt batch statistics.
    """

    loses_clients = False

    def __init__(self, setting: Setting) -> None:
        self.data = setting.data
        self.batch_size = setting.batch_size
        self.short_clients = setting.short_clients
        self.sizes = setting.data.sizes
        self.stopping: Callable[[], bool] = lambda: False
        self.seed = setting.seed
        self.device = setting.device
        self.codec = setting.codec
        self._links = Links(setting.codec)
        clients = len(setting.data.indices)
        self.stack = Stack(
            setting.segment,
            clients,
            setting.optimizer,
            clip_norm=setting.clip_norm,
            stacked=setting.stacking != "looped" and clients > 1,
            device=setting.device,
        )
        self.segment = {name: tensor[0].to("meta") for name, tensor in self.stack.weights((0,)).items()}
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

    def settle(self, folder: Path) -> None:
        """Do nothing: clients are here."""
        del folder

    def begin(self, cohort: tuple[int, ...], epoch: int) -> int:
        """Draw the order of every client's samples; return the number of steps of the longest."""
        orders = [order_of(self.data.indices[client].numpy(), self.seed, client, epoch) for client in cohort]
        sizes = np.array([len(order) for order in orders])
        table = np.zeros((len(cohort), sizes.max()), dtype=np.int64)
        for row, order in zip(table, orders, strict=True):
            row[: len(order)] = order
        self._turn = _Turn(cohort, table, sizes)
        return steps_of(sizes, self.batch_size)

    def forward(self, step: int) -> Uplink:
        """Run the clients that have a batch in this step; those of equal batch size together."""
        first, counts = batches_at(step, self._turn.sizes, self.batch_size, self.short_clients)
        present = np.flatnonzero(counts)
        sizes = counts[present]
        positions = first[present, None] + np.arange(int(sizes.max()))
        # The tail of a short batch is not used.
        positions = np.minimum(positions, self._turn.order.shape[1] - 1)
        rows = torch.from_numpy(self._turn.order[present[:, None], positions])
        self._passes = []
        for size in np.unique(sizes):
            places = np.flatnonzero(sizes == size).tolist()
            clients = tuple(self._turn.cohort[present[place]] for place in places)
            batch = self._batch(rows[places, :size], stacked=self.stack.stacked and len(clients) > 1)
            self._passes.append((places, self.stack.forward(clients, batch)))
        ids = tuple(self._turn.cohort[place] for place in present)
        labels = self.targets[rows.to(self.device)]
        self._sent = Uplink(self._join(len(present)), labels, ids, tuple(sizes.tolist()))
        return self._links.received(self._sent)

    def _batch(self, rows: Tensor, *, stacked: bool) -> Tensor:
        """Gather samples ``[n, b, ...]``; images channels-last, with the clients of a stack side by side."""
        rows = rows.to(self.device)
        if self.inputs.dim() != 4:
            return self.inputs[rows]
        if not stacked:
            flat = self.inputs[rows.flatten()].contiguous(memory_format=torch.channels_last)
            return torch.unflatten(flat, 0, rows.shape)
        side_by_side = self.inputs[rows.T].flatten(1, 2).contiguous(memory_format=torch.channels_last)
        return torch.unflatten(side_by_side, 1, (len(rows), -1)).transpose(0, 1)

    def _join(self, present: int) -> Tensor:
        """Lay the outputs of all passes side by side ``[C, b, ...]``, zero where a client has no sample."""
        if len(self._passes) == 1:
            return self._passes[0][1].outputs
        largest = self._passes[-1][1].outputs
        joined = largest.new_zeros(present, *largest.shape[1:])
        for places, part in self._passes:
            joined[places, : part.outputs.shape[1]] = part.outputs
        return joined

    def backward(self, downlink: Downlink, rate: float) -> None:
        """Back-propagate each client's cut-layer gradient through its segment, and step."""
        cut_gradients = self._links.delivered(downlink, self._sent.clients, self._sent.sizes).gradients
        found: list[tuple[Pass, Gradients]] = []
        for places, part in self._passes:
            whole = len(self._passes) == 1
            own = cut_gradients if whole else cut_gradients[places, : part.outputs.shape[1]]
            found.append((part, self.stack.backward(part, own)))
        # All go back before any steps: to torch, rows are one tensor, and must not change under a backward pass.
        for part, gradients in found:
            self.stack.update(part.rows, gradients.weights, rate)
        self._passes = []

    def pass_alone(self, rate: float) -> Tally | None:
        """Have clients step together, whatever they hold."""
        del rate
        return None

    def gather(self, cohort: tuple[int, ...]) -> tuple[tuple[int, ...], Weights]:
        """Return everyone's weights."""
        return cohort, self.collect(cohort)

    def collect(self, clients: tuple[int, ...]) -> Weights:
        """Return copies of the clients' weights and buffers ``[n, ...]``."""
        return self.stack.weights(clients)

    def publish(self, weights: Weights, clients: tuple[int, ...]) -> tuple[int, ...]:
        """Give the clients the same weights and buffers ``[...]``."""
        self.stack.load(clients, weights)
        return clients

    def evaluate(
        self, server: nn.Module, samples: Samples, clients: tuple[int, ...], shared: Weights | None = None
    ) -> Scores:
        """Score clients, or weights that they share, on the same samples."""
        if shared is None:
            return self._scores(server, samples, clients)
        before = self.collect(clients[:1])
        self.publish(shared, clients[:1])
        scores = self._scores(server, samples, clients[:1])
        self.publish({name: tensor[0] for name, tensor in before.items()}, clients[:1])
        return scores

    def _scores(self, server: nn.Module, samples: Samples, clients: tuple[int, ...]) -> Scores:
        """Score as many clients and samples at a time as fit the cache."""
        server.eval()
        correct = torch.zeros(len(clients), dtype=torch.int64, device=self.device)
        losses = torch.zeros(len(clients), dtype=torch.float64, device=self.device)
        # Where clients hold the whole model, the cut says nothing about the size of activations; inputs say a little.
        width = max(self._values_at_cut(clients[0], samples), samples.inputs[0].numel())
        budget = max(1, EVALUATION_VALUES[self.device.type] // width)
        group = min(len(clients), max(1, budget // 64))
        per_batch = min(len(samples), max(1, budget // group))
        with torch.no_grad():
            for first in range(0, len(samples), per_batch):
                inputs = samples.inputs[first : first + per_batch].to(self.device)
                labels = samples.targets[first : first + per_batch].to(self.device)
                for start in range(0, len(clients), group):
                    chosen = slice(start, start + group)
                    logits = self._logits(server, clients[chosen], inputs)
                    wanted = labels.expand(len(logits), -1)
                    correct[chosen] += (logits.argmax(2) == wanted).sum(1)
                    each = F.cross_entropy(logits.flatten(0, 1), wanted.flatten(), reduction="none")
                    losses[chosen] += torch.unflatten(each, 0, wanted.shape).sum(1)
        return Scores(correct.cpu().double() / len(samples), losses.cpu() / len(samples))

    def _values_at_cut(self, client: int, samples: Samples) -> int:
        return self.stack.predict((client,), samples.inputs[:1].to(self.device)).numel()

    def _logits(self, server: nn.Module, clients: tuple[int, ...], inputs: Tensor) -> Tensor:
        """Logits ``[n, m, K]`` of m samples through every client's segment and the server's."""
        if inputs.dim() == 4:
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        smashed = self.stack.predict(clients, inputs)
        flat = self.codec.received(smashed.flatten(0, 1))
        if flat.dim() == 4:
            flat = flat.contiguous(memory_format=torch.channels_last)
        logits: Tensor = server(flat)
        return torch.unflatten(logits, 0, smashed.shape[:2])

    def digests(self) -> list[str]:
        """Return the SHA-256 of every client's weights and buffers."""
        rows = self.collect(tuple(range(len(self.sizes))))
        return [digest({name: tensor[row] for name, tensor in rows.items()}) for row in range(len(self.sizes))]

    def state(self, best: bool = False) -> dict[str, Tensor]:
        """Return weights, buffers and optimizer state of all clients, and what their links remember."""
        del best
        return self.stack.state() | {f"{LINKS}{name}": tensor for name, tensor in self._links.state().items()}

    def restore(self, tensors: Weights) -> None:
        """Take up what `state` returned."""
        self.stack.restore({name: tensor for name, tensor in tensors.items() if not name.startswith(LINKS)})
        self._links.restore(below(LINKS, tensors))

    def close(self, *, done: bool) -> None:
        """Do nothing: clients go with this process."""
        del done
