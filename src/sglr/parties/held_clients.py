"""What clients in one process hold: weights, buffers and optimizer state, in rows of a stack.

Where clients come and go, the stack has rows for those who are at work; the others are at rest in a store.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from sglr.client_store.store import ClientStore, clients_of, is_population
from sglr.core.weights import Weights, below, mixed, state_of
from sglr.parties.spec import ClientSpec
from sglr.stacking.stack import LOOPED, Stack
from sglr.storage.checkpoint import digest

FEWEST_SEATS = 2
"""Rows of a stack at least where clients come and go: a stack of one would be an ordinary module."""

DIGESTED = 256
"""Clients that are looked at together when all are."""


class HeldClients:
    """What clients hold.

    Parameters
    ----------
    spec
        The clients and what they need.
    ids
        Their ids, ascending.

    Attributes
    ----------
    stack
        The clients' segments: of all, the row of a client being its place among ``ids``; or, where clients come and go,
        of those alone that are at work.
    absent
        What the others hold.
    """

    def __init__(self, spec: ClientSpec, ids: tuple[int, ...]) -> None:
        self._spec, self.ids = spec, ids
        self.absent = ClientStore()
        # Clients without anything of their own need no seats.
        own = bool(state_of(spec.segment(ids[0])))
        self._comes_and_goes = spec.clients_leave and len(ids) > FEWEST_SEATS and own
        self.stack = self._new_stack(FEWEST_SEATS if self._comes_and_goes else len(ids))
        self._seated: tuple[int, ...] = () if self._comes_and_goes else ids
        self._rows = {client: row for row, client in enumerate(self._seated)}
        self._moved = False  # what those who are seated hold is not known elsewhere

    def _new_stack(self, rows: int) -> Stack:
        """Return a stack of all clients, or of seats, which hold the first client's weights until one is taken."""
        spec, first = self._spec, self._spec.first_weights
        whose = [self.ids[0]] * rows if self._comes_and_goes else self.ids
        segment = spec.segment(whose[0])
        return Stack(
            lambda row: segment if whose[row] == whose[0] else spec.segment(whose[row]),
            rows,
            spec.optimizer,
            clip_norm=spec.clip_norm,
            stacked=spec.stacking not in LOOPED and len(self.ids) > 1,
            device=spec.device,
            first=(lambda row: first(whose[row])) if first else None,
            apart=self._comes_and_goes,
            precision=spec.precision,
        )

    def keep_in(self, folder: Path, checkpoints: Path) -> None:
        """Keep what absent clients hold in files of ``folder``, as long as one of ``checkpoints`` needs them."""
        self.absent.keep_in(folder, checkpoints)

    def rows_of(self, clients: Sequence[int]) -> tuple[int, ...]:
        """Return the rows of the stack that hold these clients."""
        return tuple(self._rows[client] for client in clients)

    def _seat(self, clients: Sequence[int], *, moves: bool) -> tuple[Stack, tuple[int, ...]]:
        """Have the stack hold these clients, if it does not hold all; return it and their rows.

        Rows are in the order of ids, as they are in a stack of all: so a stack of few gives the same bits.
        """
        if self._comes_and_goes and self._seated != tuple(clients):
            self._empty_seats()
            if len(clients) > self.stack.rows:
                form = self.stack.form
                self.stack = self._new_stack(len(clients))
                self.stack.run_as(form)
            self._rows = {client: row for row, client in enumerate(clients)}
            for own, tensors in self._held(clients):
                self.stack.put_in(self.rows_of(own), tensors)
            self._seated = tuple(clients)
        self._moved |= moves
        return self.stack, self.rows_of(clients)

    def _empty_seats(self) -> None:
        """Store what the seated clients hold, so that the stack is free for others."""
        self._keep_seated()
        self._seated, self._rows = (), {}

    def _keep_seated(self) -> None:
        if self._moved:
            for places, tensors in self.stack.take_out(range(len(self._seated))):
                self.absent.put([self._seated[place] for place in places], tensors)
            self._moved = False

    def _held(self, clients: Sequence[int]) -> Iterator[tuple[list[int], dict[str, Tensor]]]:
        """Yield what clients hold who are not seated: their first weights, if they never were."""
        new = [client for client in clients if client not in self.absent]
        yield from self.absent.get([client for client in clients if client in self.absent])
        if new:
            first = [self._first_weights(client) for client in new]
            yield new, {f"weights.{name}": torch.stack([own[name] for own in first]) for name in first[0]}

    def _first_weights(self, client: int) -> Weights:
        spec = self._spec
        return spec.first_weights(client) if spec.first_weights else state_of(spec.segment(client))

    def collect(self, clients: Sequence[int]) -> dict[str, Tensor]:
        """Return copies of the clients' weights and buffers ``[n, ...]``."""
        stack, rows = (self.stack, self.rows_of(clients)) if self._holds(clients) else self._seat(clients, moves=False)
        return stack.weights(rows)

    def _holds(self, clients: Sequence[int]) -> bool:
        return {*self._seated}.issuperset(clients)

    def publish(self, weights: Weights, clients: Sequence[int]) -> None:
        """Give the clients the same weights and buffers ``[...]``, which each mixes with a share of its own."""
        if self._spec.own_share:
            weights = mixed(self.collect(clients), weights, self._spec.own_share)
        self.give(weights, clients)

    def give(self, weights: Weights, clients: Sequence[int]) -> None:
        """Set some of the clients' weights and buffers, to the same ``[...]``, or each to its own ``[n, ...]``."""
        stack, rows = self._seat(clients, moves=True)
        stack.load(rows, weights)

    def digests(self) -> list[str]:
        """Return the SHA-256 of every client's weights and buffers; empty for those who never took part, if absent."""
        if not self._comes_and_goes:
            return _digests(self.stack.weights(tuple(range(len(self.ids)))), len(self.ids))
        self._empty_seats()
        found: dict[int, str] = {}
        for first in range(0, len(known := self.absent.clients), DIGESTED):
            for clients, tensors in self.absent.get(known[first : first + DIGESTED]):
                found |= zip(clients, _digests(below("weights.", tensors), len(clients)), strict=True)
        return [found.get(client, "") for client in self.ids]

    def state(self) -> dict[str, Tensor]:
        """Return weights, buffers and optimizer state of all clients, or where they are kept."""
        if not self._comes_and_goes:
            return self.stack.state()
        self._keep_seated()
        return self.absent.state()

    def restore(self, tensors: Weights) -> None:
        """Restore what `state` returned, of a block that keeps its clients in memory or elsewhere.

        Raises
        ------
        DamagedCheckpoint
            If what is kept elsewhere is missing or torn.
        """
        if not is_population(tensors):
            if not self._comes_and_goes:
                return self.stack.restore(tensors)
            self.absent.restore({})
            for clients, own in clients_of(tensors, self.ids):
                self.absent.put(clients, own)
        else:
            self.absent.restore(tensors)
        if self._comes_and_goes:
            self._seated, self._rows, self._moved = (), {}, False
            return None
        for first in range(0, len(self.ids), DIGESTED):
            for clients, own in self._held(self.ids[first : first + DIGESTED]):
                self.stack.put_in(self.rows_of(clients), own)
        return self.absent.restore({})


def _digests(rows: Weights, count: int) -> list[str]:
    """Return the SHA-256 of each of ``count`` rows of tensors ``[n, ...]``."""
    return [digest({name: tensor[row] for name, tensor in rows.items()}) for row in range(count)]
