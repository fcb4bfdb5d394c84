"""What clients asked of a server of predictions, as its status tells: counts and times, no values."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import Any

from sglr.engines.remote.server.client_state import AWAY, HERE, NEVER

HERE_SECONDS = 60.0
"""A client that called within this time is here."""

PACE_SECONDS = 10.0
"""Over how long the speed is measured."""


@dataclass
class _Client:
    samples: int = 0
    rejected: int = 0
    up_bytes: int = 0
    down_bytes: int = 0
    answer_ms: float | None = None
    seen: float | None = None


class Usage:
    """Counts what clients ask.

    Parameters
    ----------
    clients
        |C|.
    """

    def __init__(self, clients: int) -> None:
        self._clients = [_Client() for _ in range(clients)]
        self._answers: deque[tuple[float, int]] = deque(maxlen=100_000)
        self._lock = threading.Lock()

    def seen(self, client: int) -> None:
        """Note that a client called."""
        self._clients[client].seen = time.monotonic()

    def refused(self, client: int) -> None:
        """Note that a request was refused."""
        self._clients[client].rejected += 1

    def answered(self, client: int, samples: int, up: int, down: int, seconds: float) -> None:
        """Note that a request of so many samples was answered, with bytes up and down, after so many seconds."""
        with self._lock:
            own = self._clients[client]
            own.samples, own.up_bytes, own.down_bytes = own.samples + samples, own.up_bytes + up, own.down_bytes + down
            own.answer_ms = 1e3 * seconds
            self._answers.append((time.monotonic(), samples))

    def describe(self) -> dict[str, Any]:
        """Return what the status tells, a row per client."""
        now = time.monotonic()
        with self._lock:
            while self._answers and now - self._answers[0][0] > PACE_SECONDS:
                self._answers.popleft()
            recent = sum(samples for _, samples in self._answers)
            rows = [_row(number, one, now) for number, one in enumerate(self._clients)]
        return {
            "samples": sum(one.samples for one in self._clients),
            "samples_per_second": recent / PACE_SECONDS if recent else None,
            "clients": rows,
        }


def _row(number: int, one: _Client, now: float) -> dict[str, Any]:
    state = NEVER if one.seen is None else HERE if now - one.seen < HERE_SECONDS else AWAY
    return {
        "client": number,
        "state": state,
        "reason": "",
        "samples": one.samples,
        "rejected": one.rejected,
        "up_bytes": one.up_bytes,
        "down_bytes": one.down_bytes,
        "answer_ms": one.answer_ms,
    }
