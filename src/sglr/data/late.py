"""Steps that don't wait for everyone on simulated clocks: who is late is absent, as between sites."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from sglr.data.schedules import Rows, Schedule
from sglr.data.stragglers import DEADLINE, Pace, StragglerRule, Times


class Attempt(NamedTuple):
    """What comes of a step.

    Parameters
    ----------
    present
        Who is in it, bool ``[n]``.
    late
        Samples of those who began a batch that came too late, ``[n]``.
    patience
        The seconds from the server's last answer that it waited for who did not come; 0 if all came.
    up
        Seconds that a sample of each client takes up, ``[n]``.
    """

    present: np.ndarray
    late: Rows
    patience: float
    up: Times

    @property
    def on_time(self) -> bool:
        """True if nobody was waited for in vain, and no batch is lost."""
        return not self.patience and not self.late.any()


@dataclass(frozen=True)
class Punctual:
    """A schedule in which clients that are late are absent from a step.

    All are free when the epoch begins. A step opens when the server has answered the one before. Whoever has a batch in
    it and is free begins it, and takes its pace's time; whoever is busy is absent. A batch that comes too late is lost,
    and its client busy until it has sent it.

    Parameters
    ----------
    whole
        The schedule if all were in time.
    pace
        How long the clients take.
    rule
        The deadline or the quorum.
    """

    whole: Schedule
    pace: Pace
    rule: StragglerRule

    @property
    def steps(self) -> int:
        """Steps of the epoch, as many as if all were in time."""
        return self.whole.steps

    @cached_property
    def _attempts(self) -> list[Attempt]:
        opens, found = 0.0, list[Attempt]()
        free = np.zeros_like(self.pace.fixed)
        for step in range(self.steps):
            counts = self.whole.at(step)[1]
            asked = counts > 0
            if asked.any():
                opens = max(opens, float(free[asked].min()))  # it waits for someone
            began = asked & (free <= opens)
            arrives = np.where(began, opens + self.pace.takes(counts), np.inf)
            present, over, patience = self._in_time(opens, arrives, asked)
            late = began & ~present
            free[late] = arrives[late]
            found.append(Attempt(present, np.where(late, counts, 0), patience, self.pace.up))
            opens = over + self.pace.serves(counts[present], np.flatnonzero(present))
            free[present] = opens
        return found

    def _in_time(self, opens: float, arrives: np.ndarray, asked: np.ndarray) -> tuple[np.ndarray, float, float]:
        """Return who is in the step, when it goes on, and how long it waited for who is not."""
        in_order = np.sort(arrives[np.isfinite(arrives)])
        if not len(in_order):
            return np.zeros(len(arrives), dtype=bool), opens, 0.0
        if self.rule.name == DEADLINE:
            fewest = in_order[min(self.rule.fewest, len(in_order)) - 1]
            until = max(opens + self.rule.seconds, float(fewest))
            present = arrives <= until
            if bool((asked & ~present).any()):
                return present, until, until - opens
            return present, float(arrives[present].max()), 0.0
        last = float(in_order[min(self.rule.number, len(in_order)) - 1])
        first = np.argsort(arrives, kind="stable")[: min(self.rule.number, len(in_order))]
        present = np.zeros(len(arrives), dtype=bool)
        present[first] = True
        return present, last, 0.0

    @property
    def used(self) -> Rows:
        """How many samples every client trains on in the epoch, ``[n]``."""
        used = np.zeros(len(self.pace.fixed), dtype=np.int64)
        for step in range(self.steps):
            used += self.at(step)[1]
        return used

    def at(self, step: int) -> tuple[Rows, Rows]:
        """Return first positions and counts of a step, ``[n]``; who is late has none."""
        first, counts = self.whole.at(step)
        if step >= self.steps:
            return first, counts
        return first, np.where(self._attempts[step].present, counts, 0)

    def attempt(self, step: int) -> Attempt:
        """Return what comes of a step."""
        return self._attempts[step]
