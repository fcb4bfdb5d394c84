"""The operations of a whole training: one sample's, times the samples that every client really trained on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from sglr.core.random import generator
from sglr.core.trainer import Trainer
from sglr.cost.computation import SegmentFlops, segment_flops
from sglr.splitting import ClientSegments, HeadedSegment

RULE = (
    "add-multiplies x 2, forward and backward as they happen (torch.utils.flop_counter), training only; "
    "paper: add-multiplies x 2, backward = 2 x forward"
)


@dataclass(frozen=True)
class Computation:
    """What a training computed, and where.

    Parameters
    ----------
    client, server
        One sample's operations in a client's segment and in the server's.
    samples
        Samples that each registered client trained on, over all epochs, int64 ``[C]``.
    sent
        Samples that the server trained on; None if all of these.
    """

    client: SegmentFlops
    server: SegmentFlops
    samples: NDArray[np.int64]
    sent: int | None = None

    @property
    def client_flops(self) -> NDArray[np.float64]:
        """Operations of each client, ``[C]``."""
        return self.samples.astype(np.float64) * self.client.total

    @property
    def server_flops(self) -> float:
        """Operations of the server, for all clients together."""
        return float(self._served * self.server.total)

    @property
    def _served(self) -> int:
        return int(self.samples.sum()) if self.sent is None else self.sent

    def summary(self) -> dict[str, Any]:
        """Return the figures as they go into ``summary.json``.

        Means and maxima are over the registered clients; those of the paper's rule are means. The calls of operations
        that are not counted are those of one step.
        """
        clients, server = self.client_flops, self.server_flops
        paper_client, paper_server = (
            float(count * segment.paper)
            for count, segment in ((self.samples.sum(), self.client), (self._served, self.server))
        )
        return {
            "rule": RULE,
            "per_sample": {"client": _per_sample(self.client), "server": _per_sample(self.server)},
            "client_flops": {"mean": float(clients.mean()), "max": float(clients.max())},
            "server_flops": server,
            "total_flops": float(clients.sum()) + server,
            "paper": {
                "client_flops": paper_client / len(self.samples),
                "server_flops": paper_server,
                "total_flops": paper_client + paper_server,
            },
            "uncounted_ops": {"client": dict(self.client.unknown), "server": dict(self.server.unknown)},
        }


def count_training(
    trainer: Trainer,
    lower: nn.Module,
    input_shape: tuple[int, ...],
    dtype: torch.dtype = torch.float32,
    smashed_bytes: int = 0,
) -> Computation:
    """Count the operations of a training that is over.

    Parameters
    ----------
    trainer
        The training.
    lower
        A client's segment; all clients' have the same shape.
    input_shape, dtype
        Shape and type of one sample's inputs.
    smashed_bytes
        Bytes of all smashed data that were sent: where clients have heads, of some samples alone.

    Raises
    ------
    Exception
        Whatever a segment raises while it is counted.

    Notes
    -----
    Every method runs each sample once through its client's segments and once through the server's, or a copy of it
    (SplitFed v1); with the whole model at the client, the server's part is nothing. Where clients have heads, each
    sample also runs through these, and through the server's segment only if it is sent; aligning heads is not counted.
    """
    client = segment_flops(lower, input_shape, dtype=dtype)
    server = segment_flops(trainer.server.segment, client.output_shape, input_gradient=True)
    if isinstance(lower, ClientSegments):
        client = _both(
            segment_flops(lower.lower, input_shape, dtype=dtype),
            segment_flops(lower.tail, lower.features, input_gradient=True),
        )
    samples = trained_samples(trainer)
    if isinstance(lower, HeadedSegment):
        head = segment_flops(lower.head, lower.features, input_gradient=True)
        sent = smashed_bytes // trainer.engine.codec.bytes((1, *lower.features))
        return Computation(_both(client, head), server, samples, sent)
    return Computation(client, server, samples)


def _both(lower: SegmentFlops, tail: SegmentFlops) -> SegmentFlops:
    """Add what a client's two segments cost, or its segment and its head."""
    unknown = {
        name: lower.unknown.get(name, 0) + tail.unknown.get(name, 0) for name in {**lower.unknown, **tail.unknown}
    }
    forward, backward = lower.forward + tail.forward, lower.backward + tail.backward
    return SegmentFlops(forward, backward, unknown, tail.output_shape)


def trained_samples(trainer: Trainer) -> NDArray[np.int64]:
    """Return how many samples each registered client trains on in all epochs, int64 ``[C]``."""
    found = np.zeros(len(trainer.sizes), dtype=np.int64)
    for epoch in range(trainer.epochs):
        found += samples_in(trainer, epoch)
    return found


def samples_in(trainer: Trainer, epoch: int) -> NDArray[np.int64]:
    """Return how many samples each registered client trains on in an epoch, int64 ``[C]``.

    A client trains once on all its samples in every epoch whose round it takes part in, unless batches say otherwise.
    """
    plan, sizes = trainer.plan, np.array(trainer.sizes, dtype=np.int64)
    found = np.zeros_like(sizes)
    rng = generator(plan.seed, "cohorts", epoch)
    for cohort in map(list, trainer.method.cohorts(trainer.participants(epoch), rng)):
        found[cohort] += plan.batches.used(sizes[cohort])
    return found


def _per_sample(flops: SegmentFlops) -> Mapping[str, float]:
    return {"forward": flops.forward, "backward": flops.backward}
