"""Which of its samples a client uses in a step: in an order of its own, by a schedule of its own or as it is told."""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sglr.data.batches import order_of
from sglr.data.schedules import Schedule
from sglr.engines.remote.client.job import Job

Rows = NDArray[np.int64]


class ToldBatch(NamedTuple):
    """What the server tells of a batch: of which attempt's step it is, where it begins, and how many samples it has."""

    attempt: int
    epoch: int
    step: int
    first: int
    samples: int

    @property
    def end(self) -> int:
        """Where in the order the next one may begin."""
        return self.first + self.samples


class OwnBatches:
    """The batches of one client.

    By the rule ``local`` it cuts its order itself. By the others a batch's size depends on what all clients own, which
    the server alone knows: it tells how many samples come next, never which.

    Parameters
    ----------
    job
        What the client trains.

    Attributes
    ----------
    told
        The batch that was told last; None if none was.
    """

    def __init__(self, job: Job) -> None:
        self._job, self._samples = job, len(job.train)
        self._order: tuple[int, Rows] = (-1, np.empty(0, np.int64))
        self.told: ToldBatch | None = None

    @property
    def are_told(self) -> bool:
        """True if the server tells each batch."""
        return self._job.batching.of_cohort

    @cached_property
    def own(self) -> Schedule:
        """The client's own schedule of any epoch, by the rule ``local``."""
        return self._job.batching.schedule(np.array([self._samples]), self._job.seed, 0)

    def tell(self, told: ToldBatch) -> None:
        """Note what the server tells of a step's batch.

        Raises
        ------
        ValueError
            If this client cuts its data itself, or there can be no such batch: it has too few samples or ends beyond
            the data, or samples would be used twice in an epoch.
        """
        if not self.are_told:
            raise ValueError("this run's clients cut their batches themselves")
        if told.samples < self._job.batching.least or told.end > self._samples:
            raise ValueError(f"a batch of {told.samples} samples from number {told.first} on can't be")
        if self.told is not None and told != self.told and not _follows(told, self.told):
            raise ValueError("a batch has samples that this epoch has used")
        self.told = told

    def forget(self) -> None:
        """Forget what was told, when a session begins: a server that was started again counts attempts anew."""
        self.told = None

    def has(self, epoch: int, step: int) -> bool:
        """Return whether the client has a batch in a step."""
        return bool(self._at(epoch, step)[1])

    def places(self, epoch: int, step: int) -> Rows:
        """Return where in the epoch's order the samples of a step's batch are, ``[b]``."""
        first, samples = self._at(epoch, step)
        return np.arange(first, first + samples)

    def following(self, epoch: int, step: int) -> Rows:
        """Return places of the next batch, to be read ahead; where batches are told, of as many samples as this one."""
        if not self.are_told:
            return self.places(epoch, step + 1)
        end, samples = sum(self._at(epoch, step)), self._at(epoch, step)[1]
        return np.arange(end, min(end + samples, self._samples))

    def rows(self, epoch: int, places: Rows) -> Rows:
        """Return the samples at places of the epoch's order."""
        if self._order[0] != epoch:
            everything = np.arange(self._samples)
            self._order = (epoch, order_of(everything, self._job.seed, self._job.client, epoch))
        return self._order[1][places]

    def _at(self, epoch: int, step: int) -> tuple[int, int]:
        if self.are_told:
            now = self.told if self.told is not None and self.told[1:3] == (epoch, step) else None
            return (0, 0) if now is None else (now.first, now.samples)
        first, counts = self.own.at(step)
        return int(first[0]), int(counts[0])


def _follows(told: ToldBatch, last: ToldBatch) -> bool:
    if (told.attempt, told.epoch) != (last.attempt, last.epoch):
        return True
    return told.step > last.step and told.first >= last.end
