"""A cohort's schedule in an epoch: where in its order each client's batch of a step begins, and how long it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sglr.core.random import generator

Rows = NDArray[np.int64]

NOBODY: Rows = np.empty(0, dtype=np.int64)
"""No client's places, or no numbers."""


class Schedule(Protocol):
    """The batches of a cohort's pass over its data, as a function of its clients' numbers of samples alone."""

    @property
    def steps(self) -> int:
        """Steps of the epoch; 0 if nobody has a batch."""
        ...

    @property
    def used(self) -> Rows:
        """How many samples every client trains on in the epoch, ``[n]``; one that it uses twice counts twice."""
        ...

    def at(self, step: int) -> tuple[Rows, Rows]:
        """Return where every client's batch of a step begins in its order, and how many samples it has.

        Parameters
        ----------
        step
            The step of the epoch, from 0.

        Returns
        -------
        tuple of NDArray
            First positions and counts, int64 ``[n]``; the position of who has no batch means nothing.
        """
        ...


@dataclass(frozen=True)
class Consecutive:
    """Every client cuts its order into batches of one size, one after another.

    Parameters
    ----------
    sizes
        |D_i|, int64 ``[n]``.
    each
        A batch's samples, int64: of all clients ``[]``, or of each ``[n]``.
    least
        Fewest samples of a batch. A shorter last batch is joined to the one before it; a client that owns fewer has
        none.
    cycles
        True if a client that has used all its data begins again.
    most
        Most steps of the epoch; None if it lasts until everyone has used all its data.
    """

    sizes: Rows
    each: Rows
    least: int = 1
    cycles: bool = False
    most: int | None = None

    @cached_property
    def own_steps(self) -> Rows:
        """The number of batches that every client's data are cut into, ``[n]``."""
        steps = -(-self.sizes // self.each)
        last = self.sizes - (steps - 1) * self.each
        found: Rows = steps - ((self.sizes > 0) & (last < self.least))
        return found

    @cached_property
    def steps(self) -> int:
        """Steps of the epoch: those of the client with most batches, or fewer."""
        own = int(self.own_steps.max(initial=0))
        return own if self.most is None else min(own, self.most)

    @property
    def used(self) -> Rows:
        """How many samples every client trains on in the epoch, ``[n]``."""
        own = self.own_steps
        taken = np.full_like(own, self.steps) if self.cycles else np.minimum(own, self.steps)
        rounds, rest = np.divmod(taken, np.maximum(own, 1))
        return np.where(own > 0, rounds * self.sizes + rest * self.each, 0)

    def at(self, step: int) -> tuple[Rows, Rows]:
        """Return first positions and counts of a step, ``[n]``."""
        own = self.own_steps
        number = step % np.maximum(own, 1) if self.cycles else np.full_like(self.sizes, step)
        first = number * self.each
        counts = np.where(number + 1 < own, self.each, self.sizes - first)
        return first, np.where(number < own, counts, 0)

    def numbered(self, who: Rows, numbers: Rows) -> tuple[Rows, Rows]:
        """Return first positions and counts ``[n]`` of one batch, by number, of each of ``who``; none of others."""
        first, counts = np.zeros_like(self.sizes), np.zeros_like(self.sizes)
        each = np.broadcast_to(self.each, self.sizes.shape)[who]
        first[who] = numbers * each
        counts[who] = np.where(numbers + 1 == self.own_steps[who], self.sizes[who] - first[who], each)
        return first, counts


@dataclass(frozen=True)
class Pooled:
    """Batches of B samples drawn from all clients' data together, without replacement, as if they were in one place.

    Client i's number stands n_i times in a list; it is shuffled and cut into pieces of B, and a piece holds client i as
    often as it has samples in that step. So (b_1, …, b_C) follows the multivariate hypergeometric law of
    min(B, Σ R_i) draws from the samples R_i that are left.

    Parameters
    ----------
    sizes
        |D_i|, int64 ``[n]``.
    together
        B.
    seed, epoch
        What the draws follow from.
    """

    sizes: Rows
    together: int
    seed: int
    epoch: int

    @property
    def steps(self) -> int:
        """⌈Σ n_i / B⌉."""
        return -(-int(self.sizes.sum()) // self.together)

    @property
    def used(self) -> Rows:
        """How many samples every client trains on in the epoch: all, each once."""
        return self.sizes

    @cached_property
    def _drawn(self) -> tuple[Rows, Rows]:
        """The client of every draw, and which of its samples it is, ``[Σ n_i]`` each."""
        rng = generator(self.seed, "batches", self.epoch)
        clients = rng.permutation(np.repeat(np.arange(len(self.sizes)), self.sizes))
        begins = np.cumsum(self.sizes) - self.sizes
        by_client = np.argsort(clients, kind="stable")
        places = np.empty_like(clients)
        places[by_client] = np.arange(len(clients)) - begins[clients[by_client]]
        return clients, places

    def at(self, step: int) -> tuple[Rows, Rows]:
        """Return first positions and counts of a step, ``[n]``."""
        piece = slice(step * self.together, (step + 1) * self.together)
        clients, places = (draws[piece] for draws in self._drawn)
        first = self.sizes.copy()
        np.minimum.at(first, clients, places)
        return first, np.bincount(clients, minlength=len(self.sizes))


@dataclass(frozen=True)
class Part:
    """What a schedule says of some of the cohort's clients.

    Parameters
    ----------
    whole
        That of the cohort.
    places
        Where in the cohort they are.
    """

    whole: Schedule
    places: Sequence[int]

    @property
    def steps(self) -> int:
        """Steps of the whole cohort."""
        return self.whole.steps

    @property
    def used(self) -> Rows:
        """How many samples each of them trains on, ``[n]``."""
        return self.whole.used[list(self.places)]

    def at(self, step: int) -> tuple[Rows, Rows]:
        """Return their first positions and counts of a step, ``[n]``."""
        first, counts = self.whole.at(step)
        return first[list(self.places)], counts[list(self.places)]
