"""Which part of its order each client uses in a step, as the server counts it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sglr.core.weights import Weights
from sglr.data.batches import Batching
from sglr.data.schedules import Schedule

EPOCH, SIZES = "batches.epoch", "batches.sizes"
"""Names of tensors of a checkpoint: an epoch, and how many samples every client had when it began."""


class Batch(NamedTuple):
    """Where in its order a client's batch begins, and how many samples it has."""

    first: int
    samples: int


class BatchPlan:
    """The batches of the cohort at work.

    By the rule ``local``, which clients follow by themselves, who joins late has the batches from the step at hand on.
    By the others, batches are those of everyone whose number of samples was known when the epoch began. They stay so:
    what a client that is absent or has left would have used is not used, and who joins later begins with the next
    epoch.

    Parameters
    ----------
    batching
        How clients cut their data.
    seed
        What draws follow from.
    counts
        Says whether a client has joined and is waited for.
    """

    def __init__(self, batching: Batching, seed: int, counts: Callable[[int], bool]) -> None:
        self._batching, self._seed, self._counts = batching, seed, counts
        self._began: tuple[int, Sequence[int]] = (-1, ())
        self._cohort: tuple[int, ...] = ()
        self._schedule: Schedule | None = None
        self._steps = 0

    @property
    def told(self) -> bool:
        """True if clients must be told their batches."""
        return self._batching.of_cohort

    def begin(self, cohort: tuple[int, ...], epoch: int, known: Sequence[int]) -> int:
        """Begin a cohort's pass, ``known`` being every client's number of samples; return its number of steps."""
        self._cohort = cohort
        if self.told:
            if self._began[0] != epoch:
                self._began = (epoch, tuple(known))
            sizes = np.array([self._began[1][client] for client in cohort], dtype=np.int64)
            # Who owns too few samples for a batch takes no part.
            self._schedule = self._batching.schedule(sizes * (sizes >= self._batching.least), self._seed, epoch, cohort)
            self._steps = self._schedule.steps
            return self._steps
        sizes = np.array([known[client] for client in cohort if self._counts(client)], dtype=np.int64)
        self._steps = self._batching.schedule(sizes, self._seed, epoch).steps
        return self._steps

    def at(self, step: int, known: Sequence[int]) -> dict[int, Batch]:
        """Return the batches of a step, of the clients that have one and are waited for."""
        schedule, clients = self._schedule, self._cohort
        if schedule is None:
            clients = tuple(client for client in clients if self._counts(client))
            sizes = np.array([known[client] for client in clients], dtype=np.int64)
            schedule = self._batching.schedule(sizes, self._seed, 0)
        rows = zip(clients, *(part.tolist() for part in schedule.at(step)), strict=True)
        return {client: Batch(first, samples) for client, first, samples in rows if samples and self._counts(client)}

    def going_on(self, step: int, known: Sequence[int]) -> AbstractSet[int]:
        """Return the clients that run a step's batch forward as soon as an earlier one's gradients come.

        Who is told its batches learns of the next one by a request of its own.
        """
        return set() if self.told or step >= self._steps else self.at(step, known).keys()

    def state(self) -> Mapping[str, Tensor]:
        """Return what a checkpoint needs, so that an epoch goes on with the batches that it began with."""
        if not self.told:
            return {}
        epoch, sizes = self._began
        return {EPOCH: torch.tensor(epoch), SIZES: torch.tensor(sizes, dtype=torch.int64)}

    def restore(self, tensors: Weights) -> None:
        """Restore what `state` returned."""
        if self.told and EPOCH in tensors:
            self._began = (int(tensors[EPOCH]), tuple(tensors[SIZES].tolist()))
