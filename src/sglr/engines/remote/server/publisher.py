"""Shared weights on their way to clients: which clients lack them, and get them before their next step."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sglr.core.weights import Weights
from sglr.engines.remote.server.connections import ConnectionServer
from sglr.engines.remote.server.requests import RequestSender
from sglr.engines.remote.server.shared_weights import SharedWeights


class Publisher:
    """Sends the shared weights to clients.

    Parameters
    ----------
    requests
        Sends requests to clients.
    connections
        The clients.
    shared
        The shared weights.
    """

    def __init__(self, requests: RequestSender, connections: ConnectionServer, shared: SharedWeights) -> None:
        self._requests, self._connections, self._shared = requests, connections, shared

    def publish(self, weights: Weights, clients: Sequence[int]) -> tuple[int, ...]:
        """Send clients the same weights, absent ones before their next step; return the clients that are present."""
        self._shared.publish(weights)
        for client in clients:
            self._connections.states[client].needs_shared = True
        present = [client for client in clients if self._connections.states[client].counts]
        self._send(present)
        return tuple(present)

    def catch_up(self, clients: Iterable[int]) -> None:
        """Send the shared weights to the clients that were absent when they were published."""
        missing = [client for client in clients if self._connections.states[client].needs_shared]
        if missing and self._shared.published:
            self._send(missing)

    def _send(self, clients: Sequence[int]) -> None:
        envelope = self._requests.at()
        envelope.publish.SetInParent()
        with self._connections.changed:
            self._requests.ask(clients, envelope, None, moves=True, tensors=self._shared.published)
            self.have_them(clients)

    def have_them(self, clients: Iterable[int]) -> None:
        """Record that clients have the shared weights; one that came back without its session was not asked."""
        with self._connections.changed:
            for client in clients:
                state = self._connections.states[client]
                state.needs_shared = state.lost
