"""What passes between clients, server and method in one step, and the events that observers read.

Shapes: C clients present in the step, b the largest batch among them, ``...`` the shape at the cut,
N = Σ|B_i| the real samples of the step, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sglr.core.cuts.cut_rows import CutRows, of_rows
from sglr.core.errors import UsageError
from sglr.core.weights import to_device


@dataclass(frozen=True)
class Uplink:
    """What the server sees of one step.

    Parameters
    ----------
    smashed
        Cut-layer activations ``[C, b, ...]``, one row per client, sorted by client id; zero where there is
        no sample.
    told
        Targets, ``[C, b, ...]``, such as class numbers ``[C, b]``; None where they stay with the clients.
    clients
        The C client ids.
    sizes
        |B_i| of every client, known to the host so that no device has to be asked.
    cuts
        Where clients are cut at several places: which cut each row has. The shape at the cut is then ``[W]``, rows of
        different cuts side by side (`sglr.core.cuts.cut_rows`). None where all are cut at one.
    """

    smashed: Tensor
    told: Tensor | None
    clients: tuple[int, ...]
    sizes: tuple[int, ...]
    cuts: CutRows | None = None

    @property
    def labels(self) -> Tensor:
        """Targets, ``[C, b, ...]``: class numbers ``[C, b]`` where samples have a class.

        Raises
        ------
        UsageError
            If labels stay with the clients: a method that reads them says so in `Method.needs_labels`.
        """
        if self.told is None:
            problem = "the method reads labels, and they stay with the clients"
            raise UsageError("tail", "given", problem, "leave out --tail, or choose a method that reads no labels")
        return self.told

    @property
    def full(self) -> bool:
        """True when every client sent the same number of samples."""
        return min(self.sizes) == max(self.sizes)

    @cached_property
    def mask(self) -> Tensor:
        """Bool ``[C, b]``: True where a sample is real (unequal batches)."""
        positions = torch.arange(self.smashed.shape[1], device=self.smashed.device)
        return positions < to_device(self.sizes, self.smashed.device)[:, None]

    def flatten(self, values: Tensor) -> Tensor:
        """Concatenate the real samples of ``values`` ``[C, b, ...]`` along the batch: ``[N, ...]``."""
        if not self.full:
            return values[self.mask]
        if values.dim() != 5:
            return values.flatten(0, 1)
        # Images go channels-last in the same copy: on a CPU convolutions run 1.3 times faster so.
        return values.movedim(2, -1).flatten(0, 1).movedim(-1, 1)

    def unflatten(self, values: Tensor) -> Tensor:
        """Undo `flatten`: ``[N, ...]`` to ``[C, b, ...]``, zero where there is no sample."""
        if self.full:
            return torch.unflatten(values, 0, self.smashed.shape[:2])
        padded = values.new_zeros(*self.smashed.shape[:2], *values.shape[1:])
        padded[self.mask] = values
        return padded

    def only(self, position: int) -> Uplink:
        """Return what the client in row ``position`` sent, alone."""
        size = self.sizes[position]
        rows = slice(position, position + 1)
        told = None if self.told is None else self.told[rows, :size]
        cuts = None if self.cuts is None else self.cuts.only(position)
        return Uplink(self.smashed[rows, :size], told, (self.clients[position],), (size,), cuts)

    def of_cuts(self) -> Iterator[tuple[int, list[int], Uplink]]:
        """Yield every cut that occurs, its rows, and what its clients sent in its own shape; by default all is one."""
        if self.cuts is None:
            yield 0, list(range(len(self.clients))), self
            return
        for cut, rows in self.cuts.groups():
            smashed = of_rows(self.smashed[rows], self.cuts.shapes[cut])
            told = None if self.told is None else self.told[rows]
            clients, sizes = (tuple(each[row] for row in rows) for each in (self.clients, self.sizes))
            yield cut, rows, Uplink(smashed, told, clients, sizes)


class Priors(NamedTuple):
    """The log label priors that are added to the logits (`Task.prior_shift`) of a step's N samples, ``[N, K]`` each.

    Parameters
    ----------
    step
        In the loss of the server's step; None for the plain loss.
    told
        In the loss whose gradients clients receive.
    """

    step: Tensor | None
    told: Tensor


class ServerBatch(NamedTuple):
    """What the server takes a step on by itself, such as smashed data that are drawn anew, mixed or remembered.

    Parameters
    ----------
    smashed
        ``[N, ...]``.
    targets
        ``[N, ...]``.
    weights
        Of every sample in the mean loss Σ w ℓ / Σ w, ``[N]``; None for equal ones.
    log_prior
        Added to the logits as `Task.prior_shift` has it, ``[N, K]``; None for the plain loss.
    others, share
        Soft labels: the loss of a sample is share · ℓ(target) + (1 − share) · ℓ(other); ``[N, ...]`` and ``[N]``. None
        if every sample is what its target says.
    """

    smashed: Tensor
    targets: Tensor
    weights: Tensor | None = None
    log_prior: Tensor | None = None
    others: Tensor | None = None
    share: Tensor | None = None


class ByOutputs(NamedTuple):
    """Gradients by outputs: of the loss of the server's step, and of the one that clients are told.

    Parameters
    ----------
    step
        ``[n, N, ...]`` of n rows, or ``[N, ...]``.
    told
        Likewise; None if both losses are one.
    """

    step: Tensor
    told: Tensor | None


class Answer(NamedTuple):
    """What clients that keep their labels answer to features (U-shape).

    Parameters
    ----------
    gradients
        By the features, ``[C, b, ...]``, each of the mean loss over the client's own batch; zero where there is no
        sample.
    loss, correct
        Sums over the samples of every client, ``[C]``: of their losses, and of how far they are right (NaN where none
        is right or wrong).
    sizes
        How many samples each client answers for: |B_i|, or 0 if it did not answer.
    """

    gradients: Tensor
    loss: Tensor
    correct: Tensor
    sizes: tuple[int, ...]


class Average(NamedTuple):
    """The part of a downlink that is the same for several clients, so that a network may send it once.

    Parameters
    ----------
    rows
        Rows of the uplink whose clients receive it, ascending.
    gradients
        The different gradients ``[n, ...]`` that they are made of, one sample's each.
    by_position
        True if they are received as they stand: sample j of each of these clients gets gradient j.
    samples
        How many samples of each of these clients they are for, the first ones; the others get their own gradients. None
        if they are for all.
    """

    rows: tuple[int, ...]
    gradients: Tensor
    by_position: bool = False
    samples: int | None = None


class Downlink(NamedTuple):
    """What the clients receive in one step.

    Parameters
    ----------
    gradients
        Cut-layer gradients ``[C, b, ...]`` that each client back-propagates; zero where there is no sample. None if
        nothing is sent: clients back-propagate the loss of their own heads.
    averaged
        What of them several clients share; None if everyone gets its own.
    updates
        False if clients keep what they find for a later update: see `StepContext.updates`.
    rate_factor
        What the clients' rate is multiplied by in this step.
    of_cuts
        Where clients are cut at several places: what those of a cut share, by the cut's number. ``averaged`` is None.
    """

    gradients: Tensor | None
    averaged: Average | None = None
    updates: bool = True
    rate_factor: float = 1.0
    of_cuts: Mapping[int, Average] = MappingProxyType({})

    def at(self, cut: int, rows: Sequence[int], cuts: CutRows | None) -> Downlink:
        """Return what the clients of a cut receive, whose rows of the step these are, in the shape of that cut."""
        if cuts is None:
            return self
        own = None if self.gradients is None else of_rows(self.gradients[list(rows)], cuts.shapes[cut])
        return self._replace(gradients=own, averaged=self.of_cuts.get(cut), of_cuts={})


class HandOut(NamedTuple):
    """Weights that the server sends some clients, each its own.

    Parameters
    ----------
    clients
        Who gets them, ascending.
    weights
        Some of the weights of their segments, by name, ``[n, ...]``.
    """

    clients: tuple[int, ...]
    weights: Mapping[str, Tensor]


@dataclass(frozen=True)
class Extent:
    """How large a training is, from which follows how much a method keeps between steps.

    Parameters
    ----------
    clients
        Registered clients.
    at_work
        Clients that train in an epoch, at most.
    batch
        Samples of one client in one step, at most; where a rule shares them out, on average.
    cut_shape
        The shape at the cut of one sample, without the batch.
    classes
        Number of classes; 0 where samples have no single class.
    each
        Bytes of one number at the cut.
    """

    clients: int
    at_work: int
    batch: int
    cut_shape: tuple[int, ...]
    classes: int
    each: int = 4

    @property
    def values(self) -> int:
        """Numbers of one sample at the cut."""
        return math.prod(self.cut_shape)


@dataclass(frozen=True)
class StepContext:
    """Where in the training a step is, and the random numbers that belong to it.

    Parameters
    ----------
    epoch, epochs
        The epoch, counted from 0, and their number.
    step, steps
        The step of the cohort within the epoch, counted from 0, and their number.
    rng
        The step's own random numbers.
    number
        Steps of the epoch that are over, in all cohorts.
    server_rate
        The server's learning rate in this epoch, before SplitLr scales it.
    updates
        True if weights are updated in this step, on the mean gradient of all samples since the last update; False if
        gradients are only kept (gradient accumulation).
    data_sizes
        |D_i| of every client, by id.
    at_work
        How many clients train in this epoch, those of the cohort.
    memory
        What the method keeps between steps, by name: it reads and changes it in place. It begins empty, is on the
        device of the smashed data, and in every checkpoint, so that a run that is resumed goes on with it. Values are
        finite. `Method.memory_bytes` says how much it becomes.
    staleness
        By client, how much its batch weighs in the server's step beside others of the same size, since it is older than
        theirs; empty if all weigh alike.
    unequal_batches
        True if a batching rule gives clients batches that differ by intent: a client's usual batch is then the mean of
        a step's, and not the largest.
    """

    epoch: int
    epochs: int
    step: int
    steps: int
    rng: np.random.Generator
    number: int = 0
    server_rate: float = 0.0
    updates: bool = True
    data_sizes: Sequence[int] = ()
    at_work: int = 0
    memory: MutableMapping[str, Tensor] = field(default_factory=dict)
    unequal_batches: bool = False
    staleness: Mapping[int, float] = field(default_factory=dict)

    @property
    def ends_epoch(self) -> bool:
        """True at the cohort's last step of the epoch."""
        return self.step + 1 == self.steps
