"""Where a server listens, whether it trains or predicts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sglr.engines.remote.trust.authority import Authority
from sglr.engines.remote.trust.connection import loopback_address, parse_address


def _nothing(port: int, authority: Authority) -> None:
    del port, authority


@dataclass(frozen=True)
class ServeOptions:
    """The settings of a server beside what it serves.

    Parameters
    ----------
    listen
        ``HOST:PORT`` to listen at.
    metrics
        ``HOST:PORT`` of this machine's loopback for Prometheus, or None.
    opened
        Called with the port and the authority once it listens.

    Raises
    ------
    UsageError
        If others than this machine could read the metrics.
    """

    listen: str
    metrics: str | None = None
    opened: Callable[[int, Authority], None] = _nothing

    def __post_init__(self) -> None:
        if self.metrics is not None:
            loopback_address("prometheus", self.metrics)

    @property
    def place(self) -> tuple[str, int]:
        """Host, as it stands before a colon, and port.

        Raises
        ------
        UsageError
            If ``listen`` is not HOST:PORT.
        """
        host, port = parse_address(self.listen)
        return f"[{host}]" if ":" in host else host, port
