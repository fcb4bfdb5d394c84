"""The engine protocol: where clients live. An engine moves tensors and does no learning of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from sglr.core.codec import CodecByCut
from sglr.core.data import Samples
from sglr.core.errors import DamagedCheckpoint, SglrError
from sglr.core.events import TrainMetrics
from sglr.core.scores import Scores
from sglr.core.server_protocol import Server
from sglr.core.types import Answer, Downlink, Uplink
from sglr.core.weights import Weights


def never() -> bool:
    """Return False: nobody asked to stop."""
    return False


class MissingSnapshot(DamagedCheckpoint):
    """A client no longer holds its part of a checkpoint."""


class LostClients(SglrError):  # noqa: N818 - says what happened
    """Clients lost what they did since their last snapshot: all go back to a checkpoint that everyone holds."""


class Engine(Protocol):
    """Where clients live, and how their tensors reach the server.

    Any call may raise `LostClients` where clients can be lost, and `ExtremeValues` where they send numbers from which
    the training can't go on.

    Attributes
    ----------
    sizes
        |D_i| of every client that is registered; 0 where it is not known yet.
    segment
        Names, shapes and types of one client's weights and buffers, on the meta device.
    loses_clients
        True if clients can die while this process lives, so that it must have a checkpoint before the first step.
    codec
        How smashed data and cut-layer gradients are written, in training and when clients are scored.

    Examples
    --------
    One step of the engine ``local``, as the training loop takes it: three clients with batches of eight.

    >>> from sglr.assembly.build import build
    >>> from sglr.runs.config import Experiment
    >>> training = build(Experiment(method="psl", dataset="digits", clients=3, samples_per_client=16))
    >>> engine, clients = training.trainer.engine, (0, 1, 2)
    >>> engine.begin_epoch(clients, epoch=0)
    2
    >>> uplink = engine.forward(step=0)
    >>> uplink.clients, uplink.sizes, tuple(uplink.smashed.shape[:2])
    ((0, 1, 2), (8, 8, 8), (3, 8))
    >>> before = engine.collect(clients)
    >>> engine.backward(Downlink(uplink.smashed), rate=0.1)
    >>> any(bool((new == before[name]).all()) for name, new in engine.collect(clients).items())
    False
    """

    loses_clients: bool
    codec: CodecByCut

    @property
    def sizes(self) -> Sequence[int]: ...  # noqa: D102 - attributes are described above

    @property
    def segment(self) -> Weights: ...  # noqa: D102

    def make_server(self, make: Callable[[torch.device], Server]) -> Server:
        """Return the server, made on the device where it computes; called once, before all else."""
        ...

    def open(self, run: Path | None) -> None:
        """Connect to what clients need, before anything is written; ``run`` is the folder of a run that is resumed.

        Raises
        ------
        UsageError
            If it is missing or too small.
        """
        ...

    def attach(self, folder: Path, should_stop: Callable[[], bool] = never) -> None:
        """Keep the engine's own files in the run's folder, and start accepting clients.

        ``should_stop`` is asked where the engine waits; if it says so, `Interrupted` is raised.
        """
        ...

    def begin_epoch(self, cohort: tuple[int, ...], epoch: int, *, fresh: bool = False) -> int:
        """Prepare a cohort's pass over its data in an epoch; return its number of steps.

        With ``fresh``, each begins with an optimizer that remembers nothing.
        """
        ...

    def forward(self, step: int) -> Uplink | None:
        """Let the clients that have a batch in this step run forward; return what they send, None if nobody does."""
        ...

    def answer(self, features: Tensor, clients: tuple[int, ...]) -> Answer:
        """Let ``clients``, of those of the last `forward`, find their loss at ``features`` ``[n, b, ...]`` (U-shape).

        Each is asked once in a step.
        """
        ...

    def backward(self, downlink: Downlink, rate: float) -> None:
        """Let the clients of the last `forward` back-propagate what they receive, and step at ``rate``.

        Where they receive no gradients, they back-propagate their own heads' loss.
        """
        ...

    def step_alone(self, step: int, rate: float) -> int:
        """Let the clients that have a batch in this step train by their own heads' loss, and send nothing.

        Returns
        -------
        int
            The number of samples that they have in it.
        """
        ...

    def train_locally(self, rates: Sequence[float], *, merges: bool = False) -> TrainMetrics | None:
        """Let clients that hold the whole model train through the epoch that `begin_epoch` prepared, without exchanges.

        Parameters
        ----------
        rates
            Those of its steps.
        merges
            Whether their weights are merged after it: they may come with what they measured.

        Returns
        -------
        TrainMetrics or None
            What they measured; None where the engine has them step one by one, with `forward` and `backward`.
        """
        ...

    def collect_present(self, cohort: tuple[int, ...]) -> tuple[tuple[int, ...], Weights]:
        """Return who of ``cohort`` is present, and their weights and buffers, each ``[n, ...]``, to be merged."""
        ...

    def collect(self, clients: tuple[int, ...]) -> Weights:
        """Return the weights and buffers of ``clients``, each ``[n, ...]``."""
        ...

    def publish(self, weights: Weights, clients: tuple[int, ...]) -> tuple[int, ...]:
        """Set weights and buffers ``[...]`` of ``clients``, all or some; optimizer state stays.

        Where clients keep a share of their own (`Method.own_share`), each mixes it with what it is given.

        Returns
        -------
        tuple of int
            Who got them now; others get them when they are back.
        """
        ...

    def give(self, weights: Weights, clients: tuple[int, ...]) -> tuple[int, ...]:
        """Set some of the weights of ``clients``, each to its own, ``[n, ...]``; return who got them now."""
        ...

    def evaluate(
        self,
        server: nn.Module,
        samples: Samples,
        clients: tuple[int, ...],
        shared: Weights | None = None,
        parts: int = 1,
    ) -> Scores:
        """Score the segments of ``clients`` with the server's on the same samples.

        With ``shared`` ``[...]`` these weights are scored instead of the clients' own, which stay as they are. The sums
        of samples i, i + P, i + 2P … are kept apart for each i below P = ``parts``, for intervals.
        """
        ...

    def digests(self) -> list[str]:
        """Return the SHA-256 of every client's weights and buffers."""
        ...

    def state(self, best: bool = False) -> dict[str, Tensor]:
        """Return everything that a checkpoint of the clients needs; ``best`` if it is the best one so far."""
        ...

    def restore(self, tensors: Weights) -> None:
        """Restore what `state` returned.

        Raises
        ------
        DamagedCheckpoint
            If a client no longer holds its part of it.
        """
        ...

    def close(self, *, done: bool, diverged: str = "") -> None:
        """Release the clients; ``done`` if the training is complete, ``diverged`` tells how it failed, if it did."""
        ...
