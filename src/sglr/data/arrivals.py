"""Batches that arrive one after another on a simulated clock: clients compute and send at rates of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from sglr.core.random import generator
from sglr.data.schedules import NOBODY, Consecutive

Rows = NDArray[np.int64]


def time_per_sample(clients: Sequence[int], spread: float, seed: int) -> NDArray[np.float64]:
    """Return how long each client takes for one sample, in time of the simulated clock, ``[n]``.

    It computes and sends at rates c and l that are drawn evenly from 1 to ``spread``, once and for all, and takes
    1 / c + 1 / l.
    """
    rates = np.array([generator(seed, "clock", client).uniform(1.0, spread, 2) for client in clients]).reshape(-1, 2)
    found: NDArray[np.float64] = (1.0 / rates).sum(1)
    return found


@dataclass(frozen=True)
class Arrivals:
    """Every client sends its batches one after another, as fast as it can; a step is of those that arrive next.

    A step ends when a client's next batch arrives that is in it already, since that one follows from the gradients of
    the one before, and with every ``uploads``-th batch of the epoch.

    Parameters
    ----------
    own
        The batches that each client's data are cut into.
    each
        How long each client takes for one sample, ``[n]``.
    uploads
        The most batches of a step.
    fixed
        How long each takes for a batch whatever its size, ``[n]``: the round trip of its link; None for no time.
    """

    own: Consecutive
    each: NDArray[np.float64]
    uploads: int
    fixed: NDArray[np.float64] | None = None

    @cached_property
    def _steps(self) -> list[tuple[Rows, Rows]]:
        """Who arrives in each step, and which of its batches that is."""
        batches = self.own.own_steps
        clients = np.repeat(np.arange(len(batches)), batches)
        numbers = np.concatenate([np.arange(count) for count in batches] or [np.empty(0, dtype=np.int64)])
        # A batch is there when all samples up to its last one have been computed and sent.
        upto = np.where(numbers + 1 < batches[clients], (numbers + 1) * self.own.each, self.own.sizes[clients])
        times = upto * self.each[clients]
        if self.fixed is not None:
            times = times + (numbers + 1) * self.fixed[clients]
        order = np.lexsort((clients, times))
        return [(clients[piece], numbers[piece]) for piece in self._cut(order, clients)]

    def _cut(self, order: Rows, clients: Rows) -> list[Rows]:
        begins, inside = [], set[int]()
        for place, client in enumerate(clients[order].tolist()):
            if place % self.uploads == 0 or client in inside:
                begins.append(place)
                inside.clear()
            inside.add(client)
        return np.split(order, begins[1:]) if begins else []

    @property
    def steps(self) -> int:
        """Steps of the epoch; 0 if nobody has a batch."""
        return len(self._steps)

    @property
    def used(self) -> Rows:
        """How many samples every client trains on in the epoch: all that are in batches, each once."""
        return self.own.used

    def at(self, step: int) -> tuple[Rows, Rows]:
        """Return first positions and counts of a step, ``[n]``."""
        who, numbers = self._steps[step] if step < self.steps else (NOBODY, NOBODY)
        return self.own.numbered(who, numbers)
