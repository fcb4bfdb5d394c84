"""The server's side of the network: one gRPC server in a thread of its own, one stream per client.

The event loop does input and output only. The trainer's thread sends requests (`ask`) and waits for answers
(`sglr.engines.remote.server.barrier`). One lock guards the `ClientState`s, which both threads use.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import grpc
import grpc.aio

from sglr.core.errors import SglrError
from sglr.engines.remote.run_description import DIVERGED
from sglr.engines.remote.server.admission import Admission
from sglr.engines.remote.server.client_state import AWAY, HERE, OUT, ClientState, PendingRequest
from sglr.engines.remote.server.listen import ServedRun
from sglr.engines.remote.server.metrics import Metrics
from sglr.engines.remote.server.outbox import Outbox, end_tasks
from sglr.engines.remote.server.services import calls
from sglr.engines.remote.trust.authority import Authority
from sglr.engines.remote.trust.peers import Client
from sglr.engines.remote.trust.service import SERVICE, enrolment, server_credentials
from sglr.engines.remote.wire.frames import Frame, Malformed, decode, encode, shown
from sglr.engines.remote.wire.messages_pb2 import Envelope

log = logging.getLogger(__name__)

MOST_UNASKED = 64
"""A client is quarantined after more messages than this that answer no request; a few are late answers."""


TOLD = "was told that the training diverged"
"""Reason of clients that are out because the training diverged."""


class ConnectionServer:
    """The gRPC server and its members.

    Parameters
    ----------
    run
        Where to listen, what to tell.
    authority
        Knows which certificates are valid.
    metrics
        Counts messages and refusals.
    """

    def __init__(self, run: ServedRun, authority: Authority, metrics: Metrics) -> None:
        self.run, self.authority, self.metrics = run, authority, metrics
        self.states = [ClientState(client) for client in range(run.description.clients)]
        self.changed = threading.Condition(threading.RLock())
        self.attempt = 0
        self.port = 0
        self._seq = 0
        self._ended = ""
        self._unsent: list[tuple[int, bytes]] = []
        self._expected: dict[int, int] = {}
        self._outboxes: dict[int, Outbox] = {}
        self._admission = Admission(run, authority, metrics, self.states, self._read)
        self._status: Callable[[], Mapping[str, Any]] = dict
        self._ready = threading.Event()
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="sglr-network", daemon=True)

    # The trainer's side.

    def open(self, status: Callable[[], Mapping[str, Any]]) -> None:
        """Listen; ``status`` returns what calls of ``Status`` are answered.

        Raises
        ------
        UsageError
            If the server can't listen at the address.
        """
        self._status = status
        self._thread.start()
        self._ready.wait()
        if self._failure is not None:
            raise self._failure

    def close(self) -> None:
        """End all streams and stop listening."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(15)

    def next_seq(self) -> int:
        """Return the number of the next request: one counter for all clients, so that one frame serves several."""
        self._seq += 1
        return self._seq

    def ask(self, frames: Mapping[int, bytes], seq: int, kind: str, answer: str | None, *, moves: bool) -> None:
        """Send clients a request of a kind; ``moves`` if it changes their state."""
        now = time.monotonic()
        with self.changed:
            sent = {}
            for client, frame in frames.items():
                state = self.states[client]
                if not state.counts or state.lost:
                    continue
                state.ask(seq, PendingRequest(frame, answer, now))
                state.moved |= moves
                if state.presence == HERE:
                    sent[client] = frame
            # One wake-up of the network's thread sends all requests that have gathered by then.
            waking = bool(sent) and not self._unsent
            self._unsent += sent.items()
        for client, frame in sent.items():
            self.metrics.message(client, kind, False, len(frame))
        if waking:
            self._loop.call_soon_threadsafe(self._send)

    def expect(self, asked: Mapping[int, int]) -> None:
        """Set the answers that are waited for, by client: only the last of them wakes the waiting thread."""
        with self.changed:
            self._expected = {client: seq for client, seq in asked.items() if seq in self.states[client].unanswered}

    def expire(self, client: int) -> None:
        """Expire all requests to a client."""
        with self.changed:
            self.states[client].expire()

    def begin_attempt(self) -> None:
        """Forget all requests: all clients go back to a checkpoint."""
        with self.changed:
            self.attempt += 1
            for state in self.states:
                state.forget_requests()
                state.lost = False

    def quarantine(self, client: int, reason: str, kind: str = "other") -> None:
        """Exclude a client that did what no honest client does; it is not admitted again until it is re-enrolled.

        Parameters
        ----------
        client
            Which one.
        reason
            What it did.
        kind
            One of `metrics.REASONS`.
        """
        with self.changed:
            state = self.states[client]
            if state.banned:
                return
            state.rejected += 1
            state.banned = True
            state.become(OUT, f"quarantined: {shown(reason)}")
            self.changed.notify_all()
        self.metrics.rejected(client, kind)
        self.metrics.rejected(client, "quarantined")
        log.warning("client %d is %s", client, state.reason, extra={"client": client, "event": "quarantined"})
        self._loop.call_soon_threadsafe(self._hang_up, client)
        try:
            self.authority.revoke(client)
        except (OSError, SglrError) as error:  # a full disk; the authority keeps it in memory until the server ends
            log.warning("the quarantine of client %d can't be written: %s", client, error)

    def drop(self, client: int, reason: str, presence: str = OUT) -> None:
        """End a client's stream; stop waiting for it unless it is ``AWAY``. It takes part again if it returns."""
        reason, told = shown(reason), "is no longer waited for" if presence == OUT else "was disconnected"
        with self.changed:
            self.states[client].become(presence, reason)
            self.changed.notify_all()
        log.warning("client %d %s: %s", client, told, reason, extra={"client": client, "event": presence})
        self._loop.call_soon_threadsafe(self._hang_up, client)

    def end(self, reason: str) -> None:
        """End all streams, and later ones, with the reason why the training can't go on; certificates stay valid."""
        with self.changed:
            self._ended = reason
            here = [state for state in self.states if state.presence == HERE]
            for state in here:
                state.become(OUT, TOLD)
            self.changed.notify_all()
        for state in here:
            self._loop.call_soon_threadsafe(self._hang_up, state.client)

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        handlers = (enrolment(self.authority), self._calls(), self._handlers())
        try:
            server, self.port = self.run.listen(server_credentials(self.authority), handlers)
            await server.start()
        except Exception as error:
            self._failure = error
            self._ready.set()
            return
        self._ready.set()
        watching = asyncio.create_task(self._admission.watch_certificates(self.drop))
        await self._stop.wait()
        watching.cancel()
        for client in list(self._outboxes):
            self._hang_up(client)
        await server.stop(2.0)

    def _calls(self) -> grpc.GenericRpcHandler:
        return calls(self.authority, self.run.description, lambda: self._status(), self.metrics)

    def _handlers(self) -> grpc.GenericRpcHandler:
        handlers = {"Train": grpc.stream_stream_rpc_method_handler(self._train)}
        return grpc.method_handlers_generic_handler(SERVICE, handlers)

    async def _train(self, messages: object, context: grpc.aio.ServicerContext) -> None:
        """Serve one client's stream."""
        del messages
        admitted = await self._admission.admit(context)
        if admitted is None:
            return
        state, peer, hello = admitted
        self._hang_up(state.client)
        outbox = self._welcome(state, peer, hello)
        if self._ended:
            self.end(self._ended)
        await self._serve_stream(context, state, outbox)
        if state.presence == OUT:
            await context.abort(*self._reason(state))

    def _reason(self, state: ClientState) -> tuple[grpc.StatusCode, str]:
        """Return the code and the reason with which a client's stream ends."""
        if state.banned:
            return grpc.StatusCode.PERMISSION_DENIED, state.reason
        return (DIVERGED, self._ended) if self._ended else (grpc.StatusCode.ABORTED, state.reason)

    async def _serve_stream(self, context: grpc.aio.ServicerContext, state: ClientState, outbox: Outbox) -> None:
        """Read and write until either is over, or the stream is to end."""
        tasks = [
            asyncio.create_task(self._write(context, state, outbox)),
            asyncio.create_task(self._listen(context, state)),
            asyncio.create_task(outbox.ended()),
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await end_tasks(*tasks)
            if self._outboxes.get(state.client) is outbox:
                del self._outboxes[state.client]
                self._left(state)

    def _welcome(self, state: ClientState, peer: Client, hello: Frame) -> Outbox:
        """Connect an admitted client: continue its session if both sides still know it, else begin a new one."""
        told = hello.envelope.hello
        with self.changed:
            known = told.session == state.session != 0
            state.come(told, peer.serial, known=known)
            welcome = Envelope()
            welcome.welcome.session, welcome.welcome.fresh = state.session, not known
            welcome.welcome.attempt, welcome.welcome.clients = self.attempt, len(self.states)
            # What waits for its earlier stream is not sent on this one, or would be sent twice.
            self._unsent = [(client, frame) for client, frame in self._unsent if client != state.client]
            outbox = Outbox([encode(welcome), *(request.frame for request in state.unanswered.values())])
            self._outboxes[state.client] = outbox
            self.changed.notify_all()
        self.metrics.connected(len(self._outboxes))
        how = "is back" if known else "joined"
        log.info("client %d %s", state.client, how, extra={"client": state.client, "event": "joined"})
        return outbox

    def _left(self, state: ClientState) -> None:
        with self.changed:
            if state.presence == HERE:
                state.become(AWAY, "its connection ended")
            self.changed.notify_all()
        self.metrics.connected(len(self._outboxes))
        log.info("client %d is away", state.client, extra={"client": state.client, "event": "away"})

    async def _write(self, context: grpc.aio.ServicerContext, state: ClientState, outbox: Outbox) -> None:
        while True:
            frame = await outbox.next()
            await context.write(frame)
            state.down_bytes += len(frame)

    async def _listen(self, context: grpc.aio.ServicerContext, state: ClientState) -> None:
        while (frame := await self._read(context, state, CLIENT_KINDS)) is not None:
            if frame.kind == "leaving":
                with self.changed:
                    state.become(AWAY, "it left and can come back")
                return
            self._take(state, frame)
            if state.presence == OUT:
                return

    async def _read(self, context: grpc.aio.ServicerContext, state: ClientState, kinds: Iterable[str]) -> Frame | None:
        """Read one message; None when the stream is over, or the message was malformed."""
        data = await context.read()
        if data is grpc.aio.EOF:
            return None
        state.up_bytes += len(data)
        try:
            frame = decode(data, self.run.most_bytes, frozenset(kinds))
        except Malformed as error:
            self.quarantine(state.client, str(error), "frame")
            return None
        self.metrics.message(state.client, frame.kind, True, len(data))
        return frame

    def _take(self, state: ClientState, frame: Frame) -> None:
        """Keep an answer; a message that answers no request is a late one, or one of too many."""
        seq = frame.envelope.seq
        with self.changed:
            request = state.unanswered.get(seq)
            if request is not None and request.answered_by(frame.kind):
                state.answered(seq, frame)
                self.metrics.round_trip(state.client, state.network_seconds[-1])
                if self._expected.get(state.client) == seq:
                    del self._expected[state.client]
                if not self._expected:
                    self.changed.notify_all()
                return
            state.unasked += 1
            too_many = state.unasked > MOST_UNASKED
        if request is not None:
            self.quarantine(state.client, f"a {frame.kind} message answers no request", "order")
        elif too_many:
            self.quarantine(state.client, "too many messages that answer no request", "rate")

    def _send(self) -> None:
        with self.changed:
            frames, self._unsent = self._unsent, []
        for client, frame in frames:
            outbox = self._outboxes.get(client)
            if outbox is not None and not outbox.put(frame):
                self.drop(client, "it does not read its messages")

    def _hang_up(self, client: int) -> None:
        outbox = self._outboxes.pop(client, None)
        if outbox is not None:
            outbox.end()


CLIENT_KINDS = frozenset(("smashed", "weights", "done", "scores", "tally", "leaving", "refusal", "feature_gradients"))
