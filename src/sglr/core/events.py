"""What observers of a training are told: traffic, steps and epochs; and what a step and a merge send."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from sglr.core.codec import Codec, CodecByCut
from sglr.core.types import Average, Downlink, Uplink
from sglr.core.weights import Weights

NO_HITS = -1.0
"""The sum of hits where a task knows no right and wrong: sums of it are negative, and finite as all that is stored."""


@dataclass(frozen=True)
class TrainMetrics:
    """Sums over the training samples of some steps.

    Parameters
    ----------
    loss
        Sum of the losses of single samples.
    correct
        How many samples are right, in sum; `NO_HITS` where none is right or wrong.
    samples
        Their number.
    bad_step
        The first step, in order, whose loss was not a number; None if there is none.
    """

    loss: float
    correct: float
    samples: int
    bad_step: int | None = None

    @property
    def mean_loss(self) -> float:
        """Mean loss per sample."""
        return self.loss / max(1, self.samples)

    @property
    def accuracy(self) -> float:
        """Share of training samples that are right, in [0, 1]; NaN where none is right or wrong."""
        return self.correct / max(1, self.samples) if self.correct >= 0 else math.nan

    def record(self) -> dict[str, float]:
        """Return what an epoch's record tells of them: the loss, and the accuracy where samples are right or wrong.

        Nothing where there were no samples, as where clients trained alone in the whole epoch.
        """
        if self.samples == 0:
            return {}
        right = {} if math.isnan(self.accuracy) else {"train_accuracy": self.accuracy}
        return {"loss": self.mean_loss, **right}


class ServerWork(NamedTuple):
    """How many samples went through the server's segment while it trained, by what was found of them.

    Parameters
    ----------
    forward
        Samples that went through it.
    backward
        Samples whose gradients went back, to the weights and to the smashed data.
    to_weights, to_inputs
        Samples whose gradients went back to one of these alone.
    """

    forward: int
    backward: int
    to_weights: int
    to_inputs: int


@dataclass(frozen=True)
class Traffic:
    """Something that crossed the network between clients and server, all clients at once.

    Parameters
    ----------
    kind
        ``"smashed"``, ``"labels"``, ``"gradients"`` (a client's own), ``"average"`` (to active clients), ``"weights"``,
        ``"beside"`` (masks and numbers of tokens that go with smashed data), or, where labels stay with the clients,
        ``"features"`` and ``"feature_gradients"``.
    up
        True from clients to server, False from server to clients.
    clients
        Ids of the clients concerned.
    sizes
        Bytes of every one of these clients, int64 ``[C]``; each is one message.
    broadcast
        Bytes of the one message to all of them that takes their place where a network can broadcast; None if it
        can't, because they differ.
    """

    kind: str
    up: bool
    clients: tuple[int, ...]
    sizes: NDArray[np.int64]
    broadcast: int | None = None


@dataclass(frozen=True)
class StepDone:
    """A step is over.

    Parameters
    ----------
    epoch, epochs, step, steps
        As in `StepContext`, with ``step`` and ``steps`` counted over all cohorts that are known so far.
    samples
        Training samples that were used in the step.
    sends
        False if clients trained alone in it, and sent nothing of them.
    """

    epoch: int
    epochs: int
    step: int
    steps: int
    samples: int
    sends: bool = True


@dataclass(frozen=True)
class EpochDone:
    """An epoch is over; ``record`` holds its measurements by name, as they go into ``metrics.jsonl``."""

    epoch: int
    epochs: int
    record: Mapping[str, float | int]


@dataclass(frozen=True)
class LateValidation:
    """A callback that was told of an epoch ended the training with it; ``record`` has ``epoch``, and what is added."""

    record: Mapping[str, float | int]


Event = Traffic | StepDone | EpochDone | LateValidation


@dataclass
class Hooks:
    """What a run does beside training.

    Parameters
    ----------
    observe
        Called with every event.
    save
        Called when a checkpoint is due, with True if it holds the best weights so far.
    stop
        Asked after every step whether the user wants to stop.
    ends
        Asked after every epoch why the training shall end with it; an empty text if it goes on.
    last_checkpoint
        Names the newest good checkpoint, for messages.
    """

    observe: Callable[[Event], None] = lambda _: None
    save: Callable[[bool], None] = lambda _: None
    stop: Callable[[], bool] = lambda: False
    last_checkpoint: Callable[[], str] = lambda: "none"
    ends: Callable[[], str] = lambda: ""


def step_traffic(
    uplink: Uplink, downlink: Downlink, codec: CodecByCut, features: tuple[int, ...] | None
) -> list[Traffic]:
    """Return what a step sends, as `exchange_traffic`; clients of different cuts send values of other shapes."""
    sent, answered = [], downlink.gradients is not None
    for cut, rows, own in uplink.of_cuts():
        averaged = downlink.at(cut, rows, uplink.cuts).averaged
        sent += exchange_traffic(own, averaged, codec.of_cut(cut), features, answered=answered)
    return sent


def exchange_traffic(
    uplink: Uplink,
    averaged: Average | None,
    codec: Codec,
    features: tuple[int, ...] | None = None,
    *,
    answered: bool = True,
) -> list[Traffic]:
    """Return what one step sends: smashed data and labels up, cut-layer gradients and their average down.

    Parameters
    ----------
    uplink
        What the clients sent.
    averaged
        The part of the answer that several clients share, if any.
    codec
        How values are written; S(L) is what it makes of a sample, or of its gradient.
    features
        Where labels stay with the clients: the shape of one sample's features, which go down, with gradients by them
        that come up, both as they are.
    answered
        False if no gradients go down.

    Returns
    -------
    list of Traffic
        Of a client with n samples: n·S(L) bytes up and n·S(L) down, which are counted as ``"average"`` where several
        clients get the same and as ``"gradients"`` else; and its labels or other targets, whole, or features and
        gradients by them.
    """
    shape, everyone = (1, *uplink.smashed.shape[2:]), range(len(uplink.sizes))
    sample, beside = codec.of_gradients.bytes(shape), codec.bytes_beside(shape)
    sent = [_of_rows("smashed", uplink, everyone, codec.bytes(shape) - beside, up=True)]
    if beside:
        sent.append(_of_rows("beside", uplink, everyone, beside, up=True))
    if features is None:
        sent.append(_of_rows("labels", uplink, everyone, _bytes_each(uplink.labels), up=True))
    else:
        each = prod(features) * uplink.smashed.element_size()
        sent.append(_of_rows("features", uplink, everyone, each, up=False))
        sent.append(_of_rows("feature_gradients", uplink, everyone, each, up=True))
    shared = _shared_samples(uplink, averaged)
    own = [row for row in everyone if shared[row] < uplink.sizes[row]]
    if own and answered:
        sent.append(_of_rows("gradients", uplink, own, sample, up=False, less=shared))
    if averaged:
        once = len(averaged.gradients) * sample
        sizes = np.array([shared[row] for row in averaged.rows], dtype=np.int64) * sample
        clients = tuple(uplink.clients[row] for row in averaged.rows)
        sent.append(Traffic("average", False, clients, sizes, once))
    return sent


def _shared_samples(uplink: Uplink, averaged: Average | None) -> list[int]:
    """Return of every client how many of its samples get gradients that several clients share."""
    shared = [0] * len(uplink.sizes)
    for row in averaged.rows if averaged else ():
        size = uplink.sizes[row]
        shared[row] = size if averaged is None or averaged.samples is None else min(size, averaged.samples)
    return shared


def _bytes_each(targets: Tensor) -> int:
    """Return the bytes of one sample's target of ``[C, b, ...]``: a label, or a whole mask."""
    return prod(targets.shape[2:]) * targets.element_size()


def weights_traffic(
    weights: Weights, clients: tuple[int, ...], *, up: bool, alike: bool = True, size: int | None = None
) -> Traffic:
    """Return what it takes to send ``weights`` ``[...]``, buffers included, from or to every one of ``clients``.

    On their way down they are the same for all, if they are ``alike``, so that a broadcast would carry them once.
    ``size`` is the bytes of one client's, where they are written in a code.
    """
    if size is None:
        size = sum(tensor.numel() * tensor.element_size() for tensor in weights.values())
    each = np.full(len(clients), size, dtype=np.int64)
    return Traffic("weights", up, clients, each, broadcast=size if alike and not up else None)


def _of_rows(
    kind: str, uplink: Uplink, rows: Iterable[int], sample: int, *, up: bool, less: Sequence[int] = ()
) -> Traffic:
    """Return what goes of all samples of some rows, but for as many of each row as ``less`` says."""
    chosen = tuple(rows)
    counts = [uplink.sizes[row] - (less[row] if less else 0) for row in chosen]
    sizes = np.array(counts, dtype=np.int64) * sample
    return Traffic(kind, up, tuple(uplink.clients[row] for row in chosen), sizes)
