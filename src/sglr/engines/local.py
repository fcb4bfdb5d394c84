"""All clients in this process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from sglr.compression.several_cuts import channels_of
from sglr.compression.weight_deltas import DeltaChannels
from sglr.core.data import Samples
from sglr.core.engine import never
from sglr.core.events import TrainMetrics
from sglr.core.scores import Scores
from sglr.core.server_protocol import Server
from sglr.core.types import Answer, Downlink, Uplink
from sglr.core.weights import Weights, below
from sglr.parties.client_block import ClientBlock
from sglr.parties.cut_blocks import CutBlocks
from sglr.parties.spec import ClientSpec

__all__ = ["Local"]

ROWS, CHECKPOINTS = "clients", "checkpoints"
"""Folders of a run: of the clients that don't take part, and of the checkpoints that say where each of them is."""

LINKS, DELTAS = "links.", "deltas."
"""What tensors of a checkpoint begin with that are memories of links, and of codes of weights."""


class Local:
    """The engine that holds all clients in this process.

    Parameters
    ----------
    spec
        The clients and what they need.
    """

    loses_clients = False

    def __init__(self, spec: ClientSpec) -> None:
        self.block: ClientBlock | CutBlocks = ClientBlock(spec) if spec.cuts is None else CutBlocks(spec)
        self.block.choose_form()
        self.codec = spec.codec
        self.sizes = spec.data.sizes
        self.segment = {name: tensor[0].to("meta") for name, tensor in self.block.collect((0,)).items()}
        self._links = channels_of(spec.codec, spec.cuts)
        self._deltas = DeltaChannels(spec.delta_code)

    def make_server(self, make: Callable[[torch.device], Server]) -> Server:
        """Return the server, which is in this process."""
        return make(self.block.device)

    def open(self, run: Path | None) -> None:
        """Do nothing: all that clients need is here."""
        del run

    @property
    def choices(self) -> dict[str, str]:
        """What was decided here, by measurement, that changes the last bits of a result."""
        return {"stacking": self.block.form}

    def attach(self, folder: Path, should_stop: Callable[[], bool] = never) -> None:
        """Keep those who don't take part in the run's folder, if they are not kept here."""
        del should_stop
        self.block.keep_in(folder / ROWS, folder / CHECKPOINTS)

    def begin_epoch(self, cohort: tuple[int, ...], epoch: int, *, fresh: bool = False) -> int:
        """Prepare a cohort's pass over its data in an epoch; return its number of steps."""
        return self.block.begin_epoch(cohort, epoch, fresh=fresh)

    def forward(self, step: int) -> Uplink | None:
        """Run the clients that have a batch in this step."""
        self._sent = self.block.forward(step)
        return None if self._sent is None else self._links.received(self._sent)

    def answer(self, features: Tensor, clients: tuple[int, ...]) -> Answer:
        """Let clients find their loss at the server's features ``[n, b, ...]`` (U-shape)."""
        return self.block.answer(features, clients)

    def backward(self, downlink: Downlink, rate: float) -> None:
        """Back-propagate what the clients receive, and step."""
        assert self._sent is not None, "there was a forward pass"
        delivered = self._links.delivered(downlink, self._sent.clients, self._sent.sizes)
        self.block.backward(delivered.gradients, rate, updates=downlink.updates)

    def step_alone(self, step: int, rate: float) -> int:
        """Let the clients that have a batch in this step train by their heads."""
        return self.block.step_alone(step, rate)

    def train_locally(self, rates: Sequence[float], *, merges: bool = False) -> TrainMetrics | None:
        """Have clients step together, whatever they hold."""
        del rates, merges
        return None

    def collect_present(self, cohort: tuple[int, ...]) -> tuple[tuple[int, ...], Weights]:
        """Return everyone's weights."""
        return cohort, self._deltas.received(cohort, self.collect(cohort))

    def collect(self, clients: tuple[int, ...]) -> Weights:
        """Return copies of the clients' weights and buffers ``[n, ...]``."""
        return self.block.collect(clients)

    def publish(self, weights: Weights, clients: tuple[int, ...]) -> tuple[int, ...]:
        """Give the clients the same weights and buffers ``[...]``."""
        self._deltas.published(weights)
        self.block.publish(weights, clients)
        return clients

    def give(self, weights: Weights, clients: tuple[int, ...]) -> tuple[int, ...]:
        """Give clients some weights, each its own ``[n, ...]``."""
        self.block.give(weights, clients)
        return clients

    def evaluate(
        self,
        server: nn.Module,
        samples: Samples,
        clients: tuple[int, ...],
        shared: Weights | None = None,
        parts: int = 1,
    ) -> Scores:
        """Score clients, or weights that they share, on the same samples."""
        return self.block.evaluate(server, samples, clients, shared, parts)

    def digests(self) -> list[str]:
        """Return the SHA-256 of every client's weights and buffers."""
        return self.block.digests()

    def state(self, best: bool = False) -> dict[str, Tensor]:
        """Return weights, buffers and optimizer state of all clients, and what their links remember."""
        del best
        tensors = self.block.state() | {f"{LINKS}{name}": tensor for name, tensor in self._links.state().items()}
        return tensors | {f"{DELTAS}{name}": tensor for name, tensor in self._deltas.state().items()}

    def restore(self, tensors: Weights) -> None:
        """Restore what `state` returned."""
        self.block.restore({name: one for name, one in tensors.items() if not name.startswith((LINKS, DELTAS))})
        self._deltas.restore(below(DELTAS, tensors))
        self._links.restore(below(LINKS, tensors))

    def close(self, *, done: bool, diverged: str = "") -> None:
        """Do nothing: clients go with this process."""
        del done, diverged
