"""A cohort's pass over its data: who, in which order the samples come, and what of them a step uses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sglr.data.batches import Batching, order_of
from sglr.data.schedules import Part, Schedule


class Among(NamedTuple):
    """Which clients of a cohort some are, for whom the batches of all decide.

    Parameters
    ----------
    clients
        The ids of the whole cohort.
    sizes
        |D_i| of the whole cohort, int64 ``[C]``.
    places
        Where in the cohort they are, ascending.
    """

    clients: tuple[int, ...]
    sizes: NDArray[np.int64]
    places: tuple[int, ...]


class LocalBatch(NamedTuple):
    """What the clients that have a batch in a step use.

    Parameters
    ----------
    clients
        Their ids, n of them.
    sizes
        How many samples each has, ``[n]``.
    samples
        Rows of the training samples, int64 ``[n, b]``; the tail of a short row is not used.
    first
        Where in its order each begins, ``[n]``.
    """

    clients: tuple[int, ...]
    sizes: NDArray[np.int64]
    samples: Tensor
    first: NDArray[np.int64]

    def real_samples(self) -> NDArray[np.int64]:
        """Return the rows that are used, ``[Σ sizes]``."""
        rows: NDArray[np.int64] = self.samples.numpy()
        return rows[self._real]

    def places(self) -> NDArray[np.int64]:
        """Return where in its client's order each of them is, ``[Σ sizes]``."""
        return (self.first[:, None] + np.arange(self.samples.shape[1]))[self._real]

    def numbered(self) -> Tensor:
        """Return the number of each among them, int64 ``[n, b]``; the tail of a short row is not used."""
        numbers = np.zeros(self.samples.shape, dtype=np.int64)
        numbers[self._real] = np.arange(self.sizes.sum())
        return torch.from_numpy(numbers)

    @property
    def _real(self) -> NDArray[np.bool_]:
        return np.arange(self.samples.shape[1]) < self.sizes[:, None]


@dataclass(frozen=True)
class LocalEpoch:
    """A cohort's pass over its data in one epoch.

    Parameters
    ----------
    cohort
        Who takes it.
    order
        Rows of the training samples in each client's order, int64 ``[n, largest |D_i|]``; the tail of a short row is
        not used.
    sizes
        |D_i|, int64 ``[n]``.
    epoch
        The epoch, counted from 0.
    schedule
        Which part of its order each uses in which step.
    """

    cohort: tuple[int, ...]
    order: NDArray[np.int64]
    sizes: NDArray[np.int64]
    epoch: int
    schedule: Schedule

    @classmethod
    def draw(
        cls,
        cohort: tuple[int, ...],
        owned: Sequence[NDArray[np.int64]],
        batching: Batching,
        seed: int,
        epoch: int,
        among: Among | None = None,
    ) -> Self:
        """Draw the order of every client's samples, given the rows of the training samples that each owns.

        ``among`` says of which larger cohort these clients are, if they are not all of it.
        """
        orders = [order_of(rows, seed, client, epoch) for rows, client in zip(owned, cohort, strict=True)]
        sizes = np.array([len(order) for order in orders], dtype=np.int64)
        table = np.zeros((len(cohort), sizes.max(initial=0)), dtype=np.int64)
        for row, order in zip(table, orders, strict=True):
            row[: len(order)] = order
        everyone = Among(cohort, sizes, tuple(range(len(cohort)))) if among is None else among
        schedule = batching.schedule(everyone.sizes, seed, epoch, everyone.clients)
        return cls(cohort, table, sizes, epoch, schedule if among is None else Part(schedule, among.places))

    def with_batch(self, step: int) -> list[int]:
        """Return the clients that have a batch in a step."""
        return [self.cohort[place] for place in np.flatnonzero(self.schedule.at(step)[1])]

    def at(self, step: int) -> LocalBatch | None:
        """Return what a step uses; None if nobody has a batch in it."""
        first, counts = self.schedule.at(step)
        present = np.flatnonzero(counts)
        if not len(present):
            return None
        sizes = counts[present]
        positions = first[present, None] + np.arange(int(sizes.max()))
        positions = np.minimum(positions, self.order.shape[1] - 1)
        samples = torch.from_numpy(self.order[present[:, None], positions])
        return LocalBatch(tuple(self.cohort[place] for place in present), sizes, samples, first[present])
