"""What a run sent one after another, where each client has a link of its own: the time for sending follows from it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


class InTurn:
    """Adds up, over steps, the bytes of the client that sent and received most, and the messages that wait for another.

    With a link of rate R and a latency for each client, all at once, sending takes bytes / R + messages · latency.

    Parameters
    ----------
    clients
        C, the number of registered clients.
    """

    def __init__(self, clients: int) -> None:
        self._bytes, self._messages = 0, 0
        self._running = np.zeros(clients, dtype=np.int64)
        self._rows: set[int] = set()
        self._ways: set[tuple[bool, bool]] = set()

    def add(self, kind: str, up: bool, rows: NDArray[np.int64], sizes: NDArray[np.int64]) -> None:
        """Add what clients ``rows`` ``[n]`` sent or received, ``sizes`` ``[n]`` bytes, to the step that is running.

        Messages of a step in one direction go together, except weights: they go when the step's gradients are there.
        """
        self._running[rows] += sizes
        self._rows.update(rows.tolist())
        self._ways.add((kind == "weights", up))

    def end(self) -> None:
        """End the step that is running."""
        self._bytes, self._messages = self._so_far()
        self._running[list(self._rows)] = 0
        self._rows.clear()
        self._ways.clear()

    def _so_far(self) -> tuple[int, int]:
        longest = self._running[list(self._rows)].max(initial=0)
        return self._bytes + int(longest), self._messages + len(self._ways)

    def summary(self) -> dict[str, int]:
        """Return ``bytes`` and ``messages`` so far."""
        sent, messages = self._so_far()
        return {"bytes": sent, "messages": messages}

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint needs, as JSON; between steps that is two numbers."""
        running = [[row, int(self._running[row])] for row in sorted(self._rows)]
        return {
            "bytes": self._bytes,
            "messages": self._messages,
            "running": running,
            "ways": sorted(list(way) for way in self._ways),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Restore what `state` returned."""
        self._bytes, self._messages = state["bytes"], state["messages"]
        self._running[:] = 0
        self._rows = {row for row, _ in state["running"]}
        for row, size in state["running"]:
            self._running[row] = size
        self._ways = {(bool(weights), bool(up)) for weights, up in state["ways"]}
