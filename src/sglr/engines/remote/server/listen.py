"""Where a server listens, for which run, with which limits, and what happens once it does."""

from __future__ import annotations

import resource
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio

from sglr.core.errors import UsageError
from sglr.engines.remote.run_description import CONNECTION, RunDescription
from sglr.engines.remote.server.metrics import Metrics
from sglr.engines.remote.trust.authority import Authority
from sglr.engines.remote.wire import probe

OPTIONS: tuple[tuple[str, Any], ...] = (
    *CONNECTION,
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 4_000),
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.max_concurrent_streams", 8),
    ("grpc.server_handshake_timeout_ms", 15_000),
    # A client that asks nothing keeps no connection.
    ("grpc.max_connection_idle_ms", 300_000),
    ("grpc.so_reuseport", 0),
)

MOST_FILES = 65536
"""Files and connections that a server asks the system for."""


def _nothing(port: int, authority: Authority) -> None:
    del port, authority


@dataclass
class Listen:
    """Where to listen for clients.

    Parameters
    ----------
    host, port
        The address; port 0 takes a free one.
    local_clients
        True to start all clients as processes of this machine.
    opened
        Called with the port and the authority once the server listens, to print join lines.
    progress
        Returns the progress of the training, for the status.
    metrics
        ``HOST:PORT`` of this machine's loopback for Prometheus, or None.
    """

    host: str = "127.0.0.1"
    port: int = 0
    local_clients: bool = True
    opened: Callable[[int, Authority], None] = _nothing
    progress: Callable[[], Mapping[str, Any]] = dict
    metrics: str | None = None
    _stop_metrics: Callable[[], None] | None = field(default=None, init=False)

    def begin(self, port: int, authority: Authority, metrics: Metrics) -> None:
        """Serve the metrics, and call ``opened``."""
        if self.metrics is not None:
            self._stop_metrics = metrics.start(self.metrics)
        self.opened(port, authority)

    def end(self) -> None:
        """Stop serving metrics."""
        if self._stop_metrics is not None:
            self._stop_metrics()


@dataclass(frozen=True)
class ServedRun:
    """A run and the address that it is served at.

    Parameters
    ----------
    host, port
        Where it listens; port 0 takes a free one.
    description
        The run, as clients are told it.
    most_bytes
        Length of the longest message.
    sizes
        |D_i| of every client where it is known; else 0.
    held
        How many samples every client scores on, by ``"validation"`` and ``"test"``, where that is known.
    """

    host: str
    port: int
    description: RunDescription
    most_bytes: int
    sizes: Sequence[int]
    held: Mapping[str, int] = field(default_factory=dict)

    def listen(
        self, credentials: grpc.ServerCredentials, handlers: Sequence[grpc.GenericRpcHandler]
    ) -> tuple[grpc.aio.Server, int]:
        """Return a server that is ready to start, and the port that it listens at.

        Raises
        ------
        UsageError
            If the server can't listen at the address.
        """
        most = max(self.most_bytes, probe.MOST_BYTES)
        limits = [("grpc.max_receive_message_length", most), ("grpc.max_send_message_length", -1)]
        limits.append(("grpc.max_allowed_incoming_connections", most_connections()))
        server = grpc.aio.server(options=[*OPTIONS, *limits])
        server.add_generic_rpc_handlers(handlers)
        address = f"{self.host}:{self.port}"
        try:
            return server, server.add_secure_port(address, credentials)
        except RuntimeError as error:
            problem = f"cannot listen there ({str(error).partition(';')[0]})"
            remedy = "choose another address, or stop the server that uses it"
            raise UsageError("listen", address, problem, remedy) from error


def most_connections() -> int:
    """Let this process open many files, and return half of them: connections must leave some for checkpoints."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    return (wanted if soft == resource.RLIM_INFINITY else soft) // 2
