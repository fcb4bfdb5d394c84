"""The operations of a whole training: one sample's, times the samples that each client, and the server, trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from sglr.core.events import ServerWork
from sglr.core.random import generator
from sglr.core.trainer import Trainer
from sglr.cost.computation import SegmentFlops, segment_flops
from sglr.splitting import ClientSegments, HeadedSegment
from sglr.splitting.trunk import entered

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
    work
        Samples that went through the server's segment; None if each of these did so once, forward and backward.
    to_weights, to_inputs
        Operations of a sample's way back through that segment to its weights alone, and to the smashed data alone; 0
        where no sample went so.
    each
        One sample's operations at every client, ``[C]``, where clients are cut at several places: ``client`` and
        ``server`` are means over the samples then. None where all clients' are alike.
    """

    client: SegmentFlops
    server: SegmentFlops
    samples: NDArray[np.int64]
    work: ServerWork | None = None
    to_weights: float = 0.0
    to_inputs: float = 0.0
    each: NDArray[np.float64] | None = None

    @property
    def client_flops(self) -> NDArray[np.float64]:
        """Operations of each client, ``[C]``."""
        return self.samples.astype(np.float64) * (self.client.total if self.each is None else self.each)

    @property
    def server_flops(self) -> float:
        """Operations of the server, for all clients together."""
        work, server = self._served, self.server
        halves = work.to_weights * self.to_weights + work.to_inputs * self.to_inputs
        return float(work.forward * server.forward + work.backward * server.backward + halves)

    @property
    def _served(self) -> ServerWork:
        trained = int(self.samples.sum())
        return ServerWork(trained, trained, 0, 0) if self.work is None else self.work

    def summary(self) -> dict[str, Any]:
        """Return the figures as they go into ``summary.json``.

        Means and maxima are over the registered clients; those of the paper's rule are means. The calls of operations
        that are not counted are those of one step.
        """
        clients, server, work = self.client_flops, self.server_flops, self._served
        # By the paper's rule either half of a way back is as much as the way there.
        passes = work.forward + 2 * work.backward + work.to_weights + work.to_inputs
        paper_client, paper_server = float(self.samples.sum() * self.client.paper), float(passes * self.server.forward)
        return {
            "rule": RULE,
            "per_sample": {"client": _per_sample(self.client), "server": _per_sample(self.server)},
            "client_flops": {"mean": float(clients.mean()), "max": float(clients.max())},
            "server_flops": server,
            "server_samples": work._asdict(),
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
    work: ServerWork | None = None,
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
    work
        Samples that went through the server's segment: `Server.work` as it was when the training ended. None takes each
        sample that clients trained on for one that went through once, forward and backward.

    Raises
    ------
    Exception
        Whatever a segment raises while it is counted.

    Notes
    -----
    Every method runs each sample once through its client's segments, and through the head or decoder that it has. How
    often, and how much of, what clients sent goes through the server's segment, or a copy of it (SplitFed v1), is the
    method's: CycleSL's server learns from a sample and then finds its gradient at the new weights, EPSL's takes fewer
    samples back. With the whole model at the client, the server's part is nothing. Steps by which the server aligns
    heads (FSL-SAGE) are not counted, what goes through its segment for them is.
    """
    found = _count_one(lower, trainer.server.segment, input_shape, dtype, work)
    return Computation(found.client, found.server, trained_samples(trainer), work, found.to_weights, found.to_inputs)


def count_at_cuts(
    trainer: Trainer,
    lowers: Sequence[nn.Module],
    input_shape: tuple[int, ...],
    dtype: torch.dtype = torch.float32,
    work: ServerWork | None = None,
) -> Computation:
    """Count the operations of a training that is over, whose clients are cut at several places.

    ``lowers`` are a client's segment at each cut; all else is as in `count_training`. Samples that go through the
    server more than once, as in CycleSL, are taken to be of each cut in proportion to those that clients train on.
    """
    assert trainer.cuts is not None, "clients are cut at several places"
    places, samples = np.array(trainer.cuts.places), trained_samples(trainer)
    counts = [
        _count_one(lower, entered(trainer.server.segment, cut), input_shape, dtype, work)
        for cut, lower in enumerate(lowers)
    ]
    shares = np.bincount(places, weights=samples, minlength=len(lowers)) / max(1, samples.sum())
    client, server = (
        _mean([count.client for count in counts], shares),
        _mean([count.server for count in counts], shares),
    )
    to_weights = float(shares @ np.array([count.to_weights for count in counts]))
    to_inputs = float(shares @ np.array([count.to_inputs for count in counts]))
    each = np.array([counts[place].client.total for place in places], dtype=np.float64)
    return Computation(client, server, samples, work, to_weights, to_inputs, each)


class _Counted(NamedTuple):
    """A sample's operations at a client and at the server."""

    client: SegmentFlops
    server: SegmentFlops
    to_weights: float
    to_inputs: float


def _count_one(
    lower: nn.Module, segment: nn.Module, input_shape: tuple[int, ...], dtype: torch.dtype, work: ServerWork | None
) -> _Counted:
    """Count a sample's operations at a client, at the server, and on its way back there to weights or inputs alone."""
    at_cut = segment_flops(lower, input_shape, dtype=dtype).output_shape
    server, to_weights, to_inputs = segment_flops(segment, at_cut, input_gradient=True), 0.0, 0.0
    if work is not None and work.to_weights:
        to_weights, _ = server_halves(segment, at_cut)
    if work is not None and work.to_inputs:
        _, to_inputs = server_halves(segment, at_cut)
    return _Counted(client_flops(lower, input_shape, dtype), server, to_weights, to_inputs)


def client_flops(lower: nn.Module, input_shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> SegmentFlops:
    """Count one sample's operations at a client: in its segment, and in the tail, head or decoder that it has."""
    if isinstance(lower, ClientSegments):
        return _both(
            segment_flops(lower.lower, input_shape, dtype=dtype),
            segment_flops(lower.tail, lower.features, input_gradient=True),
        )
    client = segment_flops(lower, input_shape, dtype=dtype)
    if isinstance(lower, HeadedSegment):
        return _both(client, segment_flops(lower.head, lower.features, input_gradient=True))
    return client


def server_halves(segment: nn.Module, at_cut: tuple[int, ...]) -> tuple[float, float]:
    """Count the operations of a sample's way back through the server's segment, to its weights and to its inputs."""
    to_inputs = segment_flops(segment, at_cut, input_gradient=True, weight_gradients=False).backward
    return segment_flops(segment, at_cut).backward, to_inputs


def _mean(flops: Sequence[SegmentFlops], shares: NDArray[np.float64]) -> SegmentFlops:
    """Return the mean of what segments cost; calls that have no formula are those of the one with most."""
    forward, backward = (
        float(sum(share * getattr(each, way) for share, each in zip(shares, flops, strict=True)))
        for way in ("forward", "backward")
    )
    most = max(flops, key=lambda each: sum(each.unknown.values()))
    return SegmentFlops(forward, backward, most.unknown, most.output_shape)


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
        found[cohort] += plan.batches.used(sizes[cohort], plan.seed, epoch, cohort)
    return found


def _per_sample(flops: SegmentFlops) -> Mapping[str, float]:
    return {"forward": flops.forward, "backward": flops.backward}
