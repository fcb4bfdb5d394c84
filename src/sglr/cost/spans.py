"""Mean and maximum of counts over the steps, or the epochs, of a run: no list that grows with it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


class Spans:
    """Counts of spans of time, each a table ``[V, L]``: V views of L kinds.

    Parameters
    ----------
    views, kinds
        V and L.

    Attributes
    ----------
    over
        How many spans are over.
    """

    def __init__(self, views: int, kinds: int) -> None:
        self.over = 0
        self._running = np.zeros((views, kinds), dtype=np.int64)
        self._most = np.zeros((views, kinds), dtype=np.int64)
        self._most_together = np.zeros(views, dtype=np.int64)

    def add(self, kind: int, counts: NDArray[np.int64]) -> None:
        """Add counts ``[V]`` of one kind to the span that is running."""
        self._running[:, kind] += counts

    def end(self) -> None:
        """End the span that is running; the next one begins."""
        self.over += 1
        self._most = np.maximum(self._most, self._running)
        self._most_together = np.maximum(self._most_together, self._running.sum(1))
        self._running[:] = 0

    def mean(self, total: int) -> float:
        """Divide what all spans have together by their number."""
        return total / max(1, self.over)

    def most(self, view: int, kind: int | None = None) -> int:
        """Return the largest count of one span: of one kind, or of all kinds together."""
        return int(self._most_together[view] if kind is None else self._most[view, kind])

    def state(self) -> list[Any]:
        """Return what a checkpoint needs, as JSON."""
        return [self.over, *(counts.tolist() for counts in (self._running, self._most, self._most_together))]

    def restore(self, state: list[Any]) -> None:
        """Restore what `state` returned."""
        self.over = state[0]
        self._most_together = np.array(state[3], dtype=np.int64)
        for held, counts in ((self._running, state[1]), (self._most, state[2])):
            held[:] = 0
            held[:, : len(counts[0])] = counts  # an earlier version knew fewer kinds, the first of these
