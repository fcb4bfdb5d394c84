"""Metrics of a running server for Prometheus: served to this machine only, and never a value of a client's data.

Every label has few values that are known before a stranger connects: the numbers of the run's clients, the kinds of
messages, `REASONS`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from sglr.core.errors import UsageError
from sglr.engines.remote.trust.connection import loopback_address
from sglr.engines.remote.wire.messages_pb2 import Envelope

REASONS = ("certificate", "frame", "tensor", "values", "labels", "order", "size", "rate", "quarantined", "other")
"""Why something was rejected: who sent it, its structure, a tensor's name, dtype or shape, numbers that are not finite
or too large, class numbers, an unexpected step or message, too long, too often, a client altogether, anything else."""

KINDS = frozenset(field.name for field in Envelope.DESCRIPTOR.oneofs_by_name["body"].fields)
"""Kinds of messages on a client's stream."""

_CALLS = frozenset({"enrol", "agreement", "probe", "status"})
_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 300)
_OTHER = "other"


class Metrics:
    """Counters and histograms of one server, in a registry of their own.

    Parameters
    ----------
    clients
        The number of clients of the run: higher numbers are counted together.
    """

    def __init__(self, clients: int = 1000) -> None:
        self.registry = CollectorRegistry()
        self._clients = clients
        self._connected = Gauge("sglr_connected_clients", "Clients that are connected.", registry=self.registry)
        self._messages = self._counter("messages", "Messages on streams and calls.", "kind", "direction")
        self._bytes = self._counter("bytes", "Bytes of these messages.", "kind", "direction")
        self._client_bytes = self._counter(
            "client_bytes", "Bytes from (up) and to (down) a client.", "client", "direction"
        )
        self._of_message: dict[tuple[str, str, str], tuple[Counter, Counter, Counter]] = {}
        self._absences = self._counter("absences", "Steps that went on without a client.", "client")
        self._rejected = self._counter("rejected", "What was rejected, and why.", "client", "reason")
        self._step = Histogram(
            "sglr_step_seconds",
            "Seconds of a step, by what they went into.",
            ("part",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._trips = Histogram(
            "sglr_round_trip_seconds", "Round trips of all clients.", buckets=_SECONDS, registry=self.registry
        )
        self._last_trip = Gauge(
            "sglr_client_round_trip_seconds", "A client's last round trip.", ("client",), registry=self.registry
        )

    def message(self, client: int, kind: str, up: bool, size: int) -> None:
        """Count a message of ``size`` bytes, ``up`` from the client to the server."""
        messages, of_kind, of_client = self._counters(self._name(client), kind, "up" if up else "down")
        messages.inc()
        of_kind.inc(size)
        of_client.inc(size)

    def _counters(self, client: str, kind: str, direction: str) -> tuple[Counter, Counter, Counter]:
        """Return what a message counts in, looked up once for all messages that are alike."""
        known = kind if kind in KINDS or kind in _CALLS else _OTHER
        found = self._of_message.get((client, known, direction))
        if found is None:
            of_kind = self._messages.labels(known, direction), self._bytes.labels(known, direction)
            found = *of_kind, self._client_bytes.labels(client, direction)
            self._of_message[client, known, direction] = found
        return found

    def step(self, wait: float, compute: float, network: float) -> None:
        """Observe the seconds of one step: waiting for clients, computing here, sending and receiving."""
        for part, seconds in (("wait", wait), ("compute", compute), ("network", network)):
            self._step.labels(part).observe(seconds)

    def absent(self, client: int) -> None:
        """Count a step that went on without a client that it should have had."""
        self._absences.labels(self._name(client)).inc()

    def rejected(self, client: int | None, reason: str) -> None:
        """Count something that was rejected; None if nobody knows whose it was, ``reason`` is one of `REASONS`."""
        whose = "unknown" if client is None else self._name(client)
        self._rejected.labels(whose, reason if reason in REASONS else _OTHER).inc()

    def round_trip(self, client: int, seconds: float) -> None:
        """Observe how long a client took to answer without computing anything."""
        self._trips.observe(seconds)
        self._last_trip.labels(self._name(client)).set(seconds)

    def connected(self, number: int) -> None:
        """Set how many clients are connected."""
        self._connected.set(number)

    def start(self, address: str) -> Callable[[], None]:
        """Serve the metrics over HTTP at ``address``, in a thread of their own.

        Parameters
        ----------
        address
            ``HOST:PORT`` of this machine's loopback, such as ``127.0.0.1:9743``: there is no access control.

        Returns
        -------
        callable
            Ends it.

        Raises
        ------
        UsageError
            If the address is not this machine's loopback, or is taken.
        """
        host, port = loopback_address("prometheus", address)
        try:
            server, thread = start_http_server(port, host, self.registry)
        except OSError as error:
            problem = f"cannot listen there ({error.strerror})"
            raise UsageError("prometheus", address, problem, "free it, or give another port") from error

        def stop() -> None:
            server.shutdown()
            server.server_close()
            thread.join()

        return stop

    def _counter(self, name: str, about: str, *labels: Literal["client", "kind", "direction", "reason"]) -> Counter:
        return Counter(f"sglr_{name}", about, labels, registry=self.registry)

    def _name(self, client: int) -> str:
        return str(client) if 0 <= client < self._clients else _OTHER
