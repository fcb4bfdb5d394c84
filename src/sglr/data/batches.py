"""Which samples a client uses in which step: the order of its data, and the rule by which it is cut into batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sglr.core.random import generator
from sglr.data.arrivals import Arrivals, time_per_sample
from sglr.data.batch_rule import CLOCK, GLOBAL, PROPORTIONAL, REGULATED, BatchRule
from sglr.data.schedules import Consecutive, Pooled, Schedule

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
    """

    size: int
    short_clients: str = "wait"
    least: int = 1
    rule: BatchRule = field(default_factory=BatchRule)

    @property
    def of_cohort(self) -> bool:
        """As in `BatchRule`."""
        return self.rule.of_cohort

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
        if self.rule.name == GLOBAL:
            return Pooled(sizes, self.together(len(sizes)), seed, epoch)
        if self.rule.name in (CLOCK, REGULATED):
            each = time_per_sample(range(len(sizes)) if clients is None else clients, self.rule.spread, seed)
            if self.rule.name == REGULATED:
                return self._regulated(sizes, each)
            return Arrivals(self._local(sizes), each, max(1, len(sizes) // 2))
        return self._proportional(sizes) if self.rule.name == PROPORTIONAL else self._local(sizes)

    def _local(self, sizes: Rows) -> Consecutive:
        return Consecutive(sizes, np.array(self.size), self.least, cycles=self.short_clients == "cycle")

    def _proportional(self, sizes: Rows) -> Consecutive:
        """Give everyone its share of B in every step, for as many steps as B goes into all samples."""
        together, owned = self.together(len(sizes)), max(1, int(sizes[sizes >= self.least].sum()))
        each = np.maximum(self.least, together * sizes // owned)
        return Consecutive(sizes, each, self.least, most=-(-owned // together))

    def _regulated(self, sizes: Rows, time: NDArray[np.float64]) -> Consecutive:
        """Give everyone as many of B as it computes and sends while others do theirs: b_i times its time is equal."""
        shares = np.floor(self.together(len(sizes)) / time / (1.0 / time).sum() + 1e-9).astype(np.int64)
        return Consecutive(sizes, np.maximum(self.least, shares), self.least)

    def used(self, sizes: Rows, seed: int = 0, epoch: int = 0, clients: Sequence[int] | None = None) -> Rows:
        """Return how many samples every client of a cohort trains on in an epoch ``[n]``, by |D_i| ``[n]``."""
        return self.schedule(sizes, seed, epoch, clients).used
