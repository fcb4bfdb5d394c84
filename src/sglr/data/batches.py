"""Which samples a client uses in which step: the order of its data, and the rule by which it is cut into batches."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray

from sglr.core.plan import weigh_alike
from sglr.core.random import generator
from sglr.data.arrivals import Arrivals, time_per_sample
from sglr.data.batch_rule import CLOCK, GLOBAL, PROPORTIONAL, REGULATED, BatchRule
from sglr.data.buffered import Buffered
from sglr.data.late import Punctual
from sglr.data.schedules import Consecutive, Pooled, Schedule
from sglr.data.stragglers import BUFFER, Pace, StragglerRule

Rows = NDArray[np.int64]


def order_of(rows: Rows, seed: int, client: int, epoch: int) -> Rows:
    """Return a client's ``rows`` in the order in which it uses them in an epoch."""
    return generator(seed, "order", client, epoch).permutation(rows)


@dataclass(frozen=True)
class Batching:
    """How clients cut their data into batches.

    By the rule ``local`` it depends only on a client's own number of samples, so that a remote client cuts its data as
    the server expects; by the others on those of the whole cohort, and who knows these tells each client.

    Parameters
    ----------
    size
        b, the samples of one client in one step.
    short_clients
        ``"wait"`` or ``"cycle"``: a client that has used all its data has 0 samples, or starts again.
    least
        Fewest samples of a batch: 1, or 2 where a segment normalises by batch and can't train on one sample. A shorter
        last batch is joined to the one before it, which then has up to b + least − 1 samples; a client that owns fewer
        than ``least`` has no batch.
    rule
        How many samples each client has in a step.
    pace
        How long every registered client takes, where simulated clocks tell; else they are drawn by the rule.
    stragglers
        What a step does about clients that are late; it needs a pace.
    """

    size: int
    short_clients: str = "wait"
    least: int = 1
    rule: BatchRule = field(default_factory=BatchRule)
    pace: Pace | None = None
    stragglers: StragglerRule = field(default_factory=StragglerRule)

    @property
    def of_cohort(self) -> bool:
        """True if a client's batches follow from the whole cohort, not from its own number of samples alone."""
        return self.rule.of_cohort or not self.stragglers.waits

    @property
    def unequal(self) -> bool:
        """As in `BatchRule`."""
        return self.rule.unequal

    @property
    def in_time(self) -> bool:
        """True if clients are answered as they arrive, and wait for nobody."""
        return self.rule.name == CLOCK

    def together(self, clients: int) -> int:
        """Return B, the samples of a step of so many clients."""
        return self.size * clients if self.rule.together is None else self.rule.together

    def longest(self, clients: int) -> int:
        """Return the most samples that one client's batch can have, in a cohort of at most so many."""
        return (self.together(clients) if self.unequal else self.size) + self.least - 1

    def schedule(self, sizes: Rows, seed: int, epoch: int, clients: Sequence[int] | None = None) -> Schedule:
        """Return the batches of a cohort in an epoch.

        Parameters
        ----------
        sizes
            How many samples its clients own, int64 ``[n]``.
        seed, epoch
            What draws follow from.
        clients
            Their ids, on which it depends how fast they are; by default 0, 1, …
        """
        if not self.stragglers.waits and self.pace is not None:
            return self._late(sizes, self.pace.of(range(len(sizes)) if clients is None else clients))
        if self.rule.name == GLOBAL:
            return Pooled(sizes, self.together(len(sizes)), seed, epoch)
        if self.rule.name in (CLOCK, REGULATED):
            who = range(len(sizes)) if clients is None else clients
            pace = self._drawn(who, seed) if self.pace is None else self.pace.of(who)
            if self.rule.name == REGULATED:
                return self._regulated(sizes, pace)
            return Arrivals(self._local(sizes), pace.each + pace.server, max(1, len(sizes) // 2), pace.fixed)
        return self._proportional(sizes) if self.rule.name == PROPORTIONAL else self._local(sizes)

    def _drawn(self, clients: Sequence[int], seed: int) -> Pace:
        each = time_per_sample(clients, self.rule.spread, seed)
        return Pace(np.zeros_like(each), each)

    def _late(self, sizes: Rows, pace: Pace) -> Punctual | Buffered:
        rule, own = self.stragglers, self._local(sizes)
        return Buffered(own, pace, rule.number) if rule.name == BUFFER else Punctual(own, pace, rule)

    def staleness(
        self, sizes: Sequence[int], seed: int, epoch: int, clients: Sequence[int]
    ) -> Callable[[int], Mapping[int, float]]:
        """Return what tells, step by step, how much each client's batch weighs in the server's, if not all alike."""
        if self.stragglers.name != BUFFER:
            return weigh_alike
        schedule = self.schedule(np.array(sizes, dtype=np.int64), seed, epoch, clients)
        assert isinstance(schedule, Buffered), "the rule is a buffer"
        return partial(_weights, schedule, tuple(clients), self.stragglers.power)

    def _local(self, sizes: Rows) -> Consecutive:
        return Consecutive(sizes, np.array(self.size), self.least, cycles=self.short_clients == "cycle")

    def _proportional(self, sizes: Rows) -> Consecutive:
        """Give everyone its share of B in every step, for as many steps as B goes into all samples."""
        together, owned = self.together(len(sizes)), max(1, int(sizes[sizes >= self.least].sum()))
        each = np.maximum(self.least, together * sizes // owned)
        return Consecutive(sizes, each, self.least, most=-(-owned // together))

    def _regulated(self, sizes: Rows, pace: Pace) -> Consecutive:
        """Give everyone as many of B as it computes and sends while others do theirs: fixed_i + b_i each_i is equal.

        Who would have fewer than ``least``, or less than nothing because its fixed time alone is longer, has ``least``;
        the others share what is left of B.
        """
        shares, free = np.full(len(sizes), self.least, dtype=np.int64), np.arange(len(sizes))
        while len(free):
            left = self.together(len(sizes)) - self.least * (len(sizes) - len(free))
            fixed, rates = pace.fixed[free], 1.0 / pace.each[free]
            together = (left + (fixed * rates).sum()) / rates.sum()
            found = np.floor((together - fixed) * rates + 1e-9).astype(np.int64)
            if (found >= self.least).all():
                shares[free] = found
                break
            free = free[found >= self.least]
        return Consecutive(sizes, shares, self.least)

    def used(self, sizes: Rows, seed: int = 0, epoch: int = 0, clients: Sequence[int] | None = None) -> Rows:
        """Return how many samples every client of a cohort trains on in an epoch ``[n]``, by |D_i| ``[n]``."""
        return self.schedule(sizes, seed, epoch, clients).used


def _weights(schedule: Buffered, clients: tuple[int, ...], power: float, step: int) -> dict[int, float]:
    """Return (1 + τ)^−power of each client in a step; nothing where all are as old."""
    who, old = schedule.staleness(step)
    if not len(old) or bool((old == old[0]).all()):
        return {}
    return {clients[place]: (1.0 + age) ** -power for place, age in zip(who.tolist(), old.tolist(), strict=True)}
