"""Asynchronous steps on simulated clocks: the server steps on the batches that arrive next (FedBuff, GAS)."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from sglr.data.schedules import NOBODY, Consecutive, Rows
from sglr.data.stragglers import Pace


@dataclass(frozen=True)
class Buffered:
    """Every client trains as fast as it is answered; a step is of the K batches that arrive next.

    Who has sent waits until the server has stepped, gets its gradients, and begins its next batch. No batch is lost: it
    is in a later step, and by then τ steps old. The last buffer of an epoch holds who is left.

    Parameters
    ----------
    own
        The batches that each client's data are cut into.
    pace
        How long the clients take.
    number
        K.
    """

    own: Consecutive
    pace: Pace
    number: int

    @cached_property
    def _steps(self) -> list[tuple[Rows, Rows, Rows]]:
        """Who is in each step, which of its batches that is, and how many steps it is old."""
        batches = self.own.own_steps
        sizes = [self.own.at(number)[1] for number in range(int(batches.max(initial=0)))]
        began = np.zeros_like(batches)
        coming = [
            (float(self.pace.fixed[client] + sizes[0][client] * self.pace.each[client]), client, 0)
            for client in np.flatnonzero(batches).tolist()
        ]
        heapq.heapify(coming)
        found: list[tuple[Rows, Rows, Rows]] = []
        answered = 0.0
        while coming:
            full = [heapq.heappop(coming) for _ in range(min(self.number, len(coming)))]
            ready = full[-1][0]
            full.sort(key=lambda one: one[1])
            who, numbers = (np.array([one[place] for one in full], dtype=np.int64) for place in (1, 2))
            samples = np.array([sizes[number][client] for _, client, number in full], dtype=np.int64)
            answered = max(answered, ready) + self.pace.serves(samples, who)
            found.append((who, numbers, len(found) - began[who]))
            began[who] = len(found)
            for _, client, number in full:
                if number + 1 < batches[client]:
                    takes = self.pace.fixed[client] + sizes[number + 1][client] * self.pace.each[client]
                    heapq.heappush(coming, (answered + float(takes), client, number + 1))
        return found

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
        who, numbers = self._steps[step][:2] if step < self.steps else (NOBODY, NOBODY)
        return self.own.numbered(who, numbers)

    def staleness(self, step: int) -> tuple[Rows, Rows]:
        """Return who is in a step, as places in the cohort, and how many steps its batch is old, τ."""
        who, _, old = self._steps[step]
        return who, old
