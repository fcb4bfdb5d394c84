"""Weights on their way to clients, shared ones and heads: who lacks them, and gets them before its next step."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

import torch
from torch import Tensor

from sglr.core.errors import ExtremeValues
from sglr.core.weights import Weights
from sglr.engines.remote.server.connections import ConnectionServer
from sglr.engines.remote.server.forms import Forms
from sglr.engines.remote.server.requests import RequestSender
from sglr.engines.remote.server.shared_weights import SharedWeights


class Publisher:
    """Sends clients the weights that they share, and each the head that it is given.

    Parameters
    ----------
    requests
        Sends requests to clients.
    connections
        The clients.
    shared
        The shared weights.
    forms
        What each client holds of them.
    """

    def __init__(
        self, requests: RequestSender, connections: ConnectionServer, shared: SharedWeights, forms: Forms
    ) -> None:
        self._requests, self._connections, self._shared, self._forms = requests, connections, shared, forms
        self._heads: dict[int, dict[str, Tensor]] = {}

    def publish(self, weights: Weights, clients: Sequence[int]) -> tuple[int, ...]:
        """Send clients the same weights, absent ones before their next step; return the clients that are present."""
        self._shared.publish(weights)
        for client in clients:
            self._connections.states[client].needs_shared = True
        present = [client for client in clients if self._connections.states[client].counts]
        self._send(present)
        return tuple(present)

    def catch_up(self, clients: Collection[int]) -> None:
        """Send weights to the clients that were absent when they were published, or given."""
        missing = [client for client in clients if self._connections.states[client].needs_shared]
        if missing and self._shared.published:
            self._send(missing)
        self._send_heads(client for client in clients if self._connections.states[client].needs_head)

    def _send(self, clients: Sequence[int]) -> None:
        envelope = self._requests.at()
        envelope.publish.SetInParent()
        with self._connections.changed:
            for group in self._forms.groups(clients):
                held = self._forms.held(self._shared.published, group[0]) if group else {}
                self._requests.ask(group, envelope, None, moves=True, tensors=held)
            self.have_them(clients)

    def give(self, weights: Weights, clients: Sequence[int]) -> tuple[int, ...]:
        """Send clients a head each, ``[n, ...]``, absent ones before their next step; return who is present.

        Raises
        ------
        ExtremeValues
            If clients would refuse one, since its values are not finite.
        """
        for row, client in enumerate(clients):
            own = {name: tensor[row].detach().cpu().clone() for name, tensor in weights.items()}
            if not all(bool(torch.isfinite(tensor).all()) for tensor in own.values()):
                raise ExtremeValues(f"the head for client {client} is not finite")
            self._heads[client] = own
            self._connections.states[client].needs_head = True
        present = tuple(client for client in clients if self._connections.states[client].counts)
        self._send_heads(present)
        return present

    def _send_heads(self, clients: Iterable[int]) -> None:
        for client in [client for client in clients if client in self._heads]:
            envelope = self._requests.at()
            envelope.publish.head = True
            state = self._connections.states[client]
            with self._connections.changed:
                self._requests.ask([client], envelope, None, moves=True, tensors=self._heads[client])
                state.needs_head = state.lost

    def state(self) -> dict[str, Tensor]:
        """Return what a checkpoint needs: the heads that clients were given."""
        return {f"{client}.{name}": own for client, head in self._heads.items() for name, own in head.items()}

    def restore(self, tensors: Weights) -> None:
        """Take up what `state` returned."""
        self._heads = {}
        for place, tensor in tensors.items():
            client, _, name = place.partition(".")
            self._heads.setdefault(int(client), {})[name] = tensor.clone()

    def have_them(self, clients: Iterable[int]) -> None:
        """Record that clients have the shared weights; one that came back without its session was not asked."""
        with self._connections.changed:
            for client in clients:
                state = self._connections.states[client]
                state.needs_shared = state.lost

    def are_as_saved(self, clients: Collection[int]) -> None:
        """Record that clients took up a snapshot, which has all that they were sent before."""
        self.have_them(clients)
        for client in clients:
            state = self._connections.states[client]
            state.needs_head = state.lost
