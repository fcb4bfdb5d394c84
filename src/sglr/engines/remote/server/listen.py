"""Where a server listens, and what happens once it does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sglr.engines.remote.server.metrics import Metrics
from sglr.engines.remote.trust.authority import Authority


def _nothing(port: int, authority: Authority) -> None:
    del port, authority


@dataclass
class Listen:
    """Where to listen for clients.

    Parameters
    ----------
    host, port
        The address; port 0 takes a free one.
    fleet
        True to start all clients as processes of this machine.
    opened
        Told the port and the authority once the server listens: to print join lines.
    progress
        Says how far the training is, for those who ask.
    metrics
        ``HOST:PORT`` of this machine's loopback for Prometheus, or None.
    """

    host: str = "127.0.0.1"
    port: int = 0
    fleet: bool = True
    opened: Callable[[int, Authority], None] = _nothing
    progress: Callable[[], Mapping[str, Any]] = dict
    metrics: str | None = None
    _stop_metrics: Callable[[], None] | None = field(default=None, init=False)

    def begin(self, port: int, authority: Authority, metrics: Metrics) -> None:
        """Serve the metrics, and tell that the server listens."""
        if self.metrics is not None:
            self._stop_metrics = metrics.start(self.metrics)
        self.opened(port, authority)

    def end(self) -> None:
        """Stop serving metrics."""
        if self._stop_metrics is not None:
            self._stop_metrics()
