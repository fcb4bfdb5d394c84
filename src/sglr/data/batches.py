"""Which samples a client uses in which step: the order of its data, cut into batches."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sglr.core.random import generator

Rows = NDArray[np.int64]


def order_of(rows: Rows, seed: int, client: int, epoch: int) -> Rows:
    """Return a client's ``rows`` in the order in which it uses them in an epoch."""
    return generator(seed, "order", client, epoch).permutation(rows)


@dataclass(frozen=True)
class Batching:
    """How clients cut their data into batches.

    It depends only on a client's number of samples, so a remote client cuts its data as the server expects.

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
    """

    size: int
    short_clients: str = "wait"
    least: int = 1

    @property
    def longest(self) -> int:
        """The most samples that a batch can have."""
        return self.size + self.least - 1

    def own_steps(self, sizes: Rows) -> Rows:
        """Return the number of batches that every client's data are cut into ``[n]``, by |D_i| ``[n]``."""
        steps = -(-sizes // self.size)
        last = sizes - (steps - 1) * self.size
        return steps - ((sizes > 0) & (last < self.least))

    def steps(self, sizes: Rows) -> int:
        """Return the number of steps of an epoch: those of the client with most batches (0 if nobody has any)."""
        return int(self.own_steps(sizes).max(initial=0))

    def at(self, step: int, sizes: Rows) -> tuple[Rows, Rows]:
        """Return where every client's batch of a step begins in its order, and how many samples it has.

        Parameters
        ----------
        step
            The step of the epoch, from 0.
        sizes
            |D_i| ``[n]``.

        Returns
        -------
        tuple of NDArray
            First positions and counts, int64 ``[n]``.
        """
        own = self.own_steps(sizes)
        number = np.full_like(sizes, step) if self.short_clients == "wait" else step % np.maximum(own, 1)
        first = number * self.size
        counts = np.where(number + 1 < own, self.size, sizes - first)
        return first, np.where(number < own, counts, 0)
