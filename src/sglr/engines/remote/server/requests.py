"""Requests to clients: each is encoded once, numbered, sent, and its answers waited for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set

from torch import Tensor

from sglr.engines.remote.server.barrier import Barrier
from sglr.engines.remote.server.batch_plan import Batch
from sglr.engines.remote.server.connections import ConnectionServer
from sglr.engines.remote.wire.frames import Frame, encode, shown
from sglr.engines.remote.wire.messages_pb2 import Envelope

STATE_SECONDS = 10.0
"""The least deadline for what takes longer than a step: snapshots, weights, scores."""

NONE: Mapping[str, Tensor] = {}


class RequestSender:
    """Sends requests to clients for the engine.

    Parameters
    ----------
    connections
        The clients.
    barrier
        Waits for their answers.
    steps
        Steps that were taken so far.

    Attributes
    ----------
    epoch, steps
        The epoch and the number of steps so far, which every request states.
    """

    def __init__(self, connections: ConnectionServer, barrier: Barrier, steps: int = 0) -> None:
        self.connections, self.barrier = connections, barrier
        self.epoch, self.steps = 0, steps
        self._ahead: dict[int, dict[int, int]] = {}  # requests for smashed data by client and step

    def begin(self, epoch: int) -> None:
        """Begin an epoch: no forward pass is requested ahead."""
        self.epoch = epoch
        self._ahead.clear()

    def at(self, step: int = 0) -> Envelope:
        """Return an envelope with the epoch and the step."""
        envelope = Envelope()
        where = envelope.where
        where.attempt, where.epoch, where.step, where.steps = self.connections.attempt, self.epoch, step, self.steps
        return envelope

    def ask_forward(self, batches: Mapping[int, Batch], step: int, *, told: bool = False) -> None:
        """Ask clients for the forward pass of a step, unless they were asked already; if ``told``, of which batch."""
        unasked = [client for client in batches if step not in self._ahead.setdefault(client, {})]
        for clients in [[client] for client in unasked] if told else [unasked] * bool(unasked):
            seq = self.connections.next_seq()
            for client in clients:
                self._ahead[client][step] = seq
            message = self._forward(step, seq, batches[clients[0]] if told else None)
            self._send(message, clients, "forward", "smashed", moves=True)

    def _forward(self, step: int, seq: int, batch: Batch | None) -> tuple[int, bytes]:
        envelope = self.at(step)
        envelope.seq = seq
        envelope.forward.SetInParent()
        if batch is not None:
            envelope.forward.first, envelope.forward.samples = batch
        return seq, encode(envelope)

    def smashed(self, batches: Mapping[int, Batch], step: int, *, told: bool = False) -> dict[int, Frame]:
        """Wait for the smashed data of a step; return what came, by client. Arguments are those of `ask_forward`."""
        clients = list(batches)
        asked = {client: self._ahead[client].pop(step) for client in clients if step in self._ahead.get(client, {})}

        def again(client: int) -> int:
            self._ahead.pop(client, None)  # steps are requested in order
            self.ask_forward({client: batches[client]}, step, told=told)
            return self._ahead[client].pop(step)

        frames = self.barrier.answers(asked, again, "smashed")
        for client in asked.keys() - frames.keys():
            self.forget_ahead(client)
        return frames

    def forget_ahead(self, client: int) -> None:
        """Expire requests for passes ahead of a step from which a client is absent: it gets no gradients for them."""
        if self._ahead.pop(client, None):
            self.connections.expire(client)

    def send_gradient(
        self,
        parts: Mapping[str, Tensor],
        clients: Sequence[int],
        step: int,
        rate: float,
        following: int | None,
        *,
        kept: bool = False,
    ) -> None:
        """Send clients one gradient of a step; with ``following`` they go on to that step at once.

        What is ``kept`` is for the update of a later step.
        """
        if not clients:
            return
        envelope = self.at(step)
        envelope.seq = self.connections.next_seq()
        told = envelope.gradient
        told.rate, told.averaged, told.then_forward = rate, len(clients) > 1, following is not None
        told.kept = kept
        if following is not None:
            for client in clients:
                self._ahead.setdefault(client, {})[following] = envelope.seq
        answer = None if following is None else "smashed"
        self._send((envelope.seq, encode(envelope, parts)), clients, "gradient", answer, moves=True)

    def send_gradients(
        self,
        parts: Mapping[str, Tensor],
        clients: Sequence[int],
        step: int,
        rate: float,
        following: int,
        going_on: Set[int],
        *,
        kept: bool = False,
    ) -> None:
        """Send one gradient to clients: one message for those that go on at once, one for the others."""
        on = [client for client in clients if client in going_on]
        rest = [client for client in clients if client not in going_on]
        self.send_gradient(parts, on, step, rate, following, kept=kept)
        self.send_gradient(parts, rest, step, rate, None, kept=kept)

    def ask(
        self,
        clients: Sequence[int],
        envelope: Envelope,
        answer: str | None,
        *,
        moves: bool = False,
        tensors: Mapping[str, Tensor] = NONE,
    ) -> dict[int, int]:
        """Send clients the same request, which ends passes that ran ahead; return the request's number by client."""
        envelope.seq = self.connections.next_seq()
        for client in clients:
            self.forget_ahead(client)
        kind = str(envelope.WhichOneof("body"))
        self._send((envelope.seq, encode(envelope, tensors)), clients, kind, answer, moves=moves)
        return dict.fromkeys(clients, envelope.seq)

    def answers(
        self,
        clients: Sequence[int],
        envelope: Envelope,
        answer: str,
        *,
        moves: bool = False,
        least_seconds: float = STATE_SECONDS,
        tensors: Mapping[str, Tensor] = NONE,
    ) -> dict[int, Frame]:
        """Send clients the same request and wait for the answers; clients that refuse are dropped.

        Refusals because of extreme values are among the answers.
        """
        asked = self.ask(clients, envelope, answer, moves=moves, tensors=tensors)

        def again(client: int) -> int:
            return self.ask([client], envelope, answer, moves=moves, tensors=tensors)[client]

        frames = self.barrier.answers(asked, again, answer, least_seconds=least_seconds)
        refused = {client: frame.envelope.refusal for client, frame in frames.items() if frame.kind == "refusal"}
        for client, refusal in refused.items():
            if not refusal.extreme:
                del frames[client]
                self.connections.drop(client, f"the client refused: {refusal.reason}")
        return frames

    def answers_each(
        self,
        tensors: Mapping[int, Tensor],
        envelope: Envelope,
        answer: str,
        *,
        moves: bool,
        least_seconds: float = 0.0,
    ) -> dict[int, Frame]:
        """Send each client ``values`` of its own and wait for the answers."""
        kind = str(envelope.WhichOneof("body"))

        def send(client: int) -> int:
            envelope.seq = self.connections.next_seq()
            request = envelope.seq, encode(envelope, {"values": tensors[client]})
            self._send(request, [client], kind, answer, moves=moves)
            return envelope.seq

        return self.barrier.answers(
            {client: send(client) for client in tensors}, send, answer, least_seconds=least_seconds
        )

    def restore(self, digests: Mapping[int, str]) -> tuple[set[int], dict[int, str]]:
        """Have clients restore their snapshots of ``steps``, by their SHA-256s.

        Returns
        -------
        tuple
            The clients that did, and by client why others could not.
        """
        self.connections.begin_attempt()
        self._ahead.clear()
        envelopes = {client: self.at() for client in digests}
        for client, digest in digests.items():
            envelopes[client].restore.steps, envelopes[client].restore.digest = self.steps, digest

        def again(client: int) -> int:
            return self.ask([client], envelopes[client], "done", moves=True)[client]

        asked = {client: again(client) for client in digests}
        frames = self.barrier.answers(asked, again, "done", least_seconds=STATE_SECONDS)
        held = {client for client, frame in frames.items() if frame.kind == "done"}
        refused = {client: shown(frames[client].envelope.refusal.reason) for client in frames.keys() - held}
        return held, refused

    def _send(
        self, request: tuple[int, bytes], clients: Sequence[int], kind: str, answer: str | None, *, moves: bool
    ) -> None:
        seq, frame = request
        self.connections.ask(dict.fromkeys(clients, frame), seq, kind, answer, moves=moves)
