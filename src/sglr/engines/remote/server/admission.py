"""Which clients are admitted: their certificate is valid and not quarantined, and their Hello fits the run."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence

import grpc
import grpc.aio

from sglr.core.errors import NotRead
from sglr.engines.remote.limits import MOST_HELD, MOST_SAMPLES
from sglr.engines.remote.server.client_state import AWAY, HERE, ClientState
from sglr.engines.remote.server.listen import ServedRun
from sglr.engines.remote.server.metrics import Metrics
from sglr.engines.remote.trust.authority import Authority
from sglr.engines.remote.trust.peers import Client, OutOfDate, Untrusted
from sglr.engines.remote.trust.service import Attempts, peer_of
from sglr.engines.remote.wire.frames import Frame
from sglr.engines.remote.wire.messages_pb2 import Hello

log = logging.getLogger(__name__)

HELLO_SECONDS = 30.0
"""How long a new stream may take to send its Hello."""

UNSEEN_SECONDS = 10.0
"""How long clients stay connected while the records of revoked certificates can't be read."""

MOST_STREAMS = 120
"""Streams that one client may open a minute: on a bad network it opens a few."""

Read = Callable[[grpc.aio.ServicerContext, ClientState, Iterable[str]], Awaitable[Frame | None]]
"""Reads one message of some kinds; None if the stream ended or the message was malformed."""


class Admission:
    """Admits clients, or refuses them.

    Parameters
    ----------
    run
        What the run is.
    authority
        Knows which certificates are valid.
    metrics
        Counts refusals.
    states
        All clients.
    read
        Reads a message.
    """

    def __init__(
        self, run: ServedRun, authority: Authority, metrics: Metrics, states: Sequence[ClientState], read: Read
    ) -> None:
        self._run, self._authority, self._metrics = run, authority, metrics
        self._states, self._read = states, read
        self._streams = Attempts(most=MOST_STREAMS)

    async def admit(self, context: grpc.aio.ServicerContext) -> tuple[ClientState, Client, Frame] | None:
        """Return which client came, with its Hello; None if the stream is over. A refused client is told the reason."""
        peer = await peer_of(context, self._authority)
        if peer.number >= len(self._states):
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, f"this run has {len(self._states)} clients")
        state = self._states[peer.number]
        if state.presence != HERE and peer.serial != state.serial:
            # A new certificate is a new beginning.
            state.serial, state.banned = peer.serial, False
        hello = await self._hello(context, state)
        # It may have been quarantined meanwhile, for this Hello or for a message on another stream.
        if state.banned and peer.serial == state.serial:
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, state.reason)
        await peer_of(context, self._authority)
        if hello is None:
            return None
        problem = self._problem(state.client, hello)
        if problem:
            await self._refuse(context, state, grpc.StatusCode.FAILED_PRECONDITION, problem, "other")
        return state, peer, hello

    def _problem(self, client: int, hello: Frame) -> str:
        """Return why a client can't take part, by its Hello; empty if it can."""
        told = hello.envelope.hello
        if told.run != self._run.description.run:
            return "the client has joined another run: give it a new folder and a new token"
        if told.segment != self._run.description.at(client).network:
            return (
                "the client's segment differs from the server's: another version of the model's code, of sglr or of "
                "torch, another cut, or other frozen weights"
            )
        return self._samples_problem(told, self._run.sizes[client]) or self._held_problem(told)

    def _samples_problem(self, told: Hello, known: int) -> str:
        if known and told.samples != known:
            return f"the client has {told.samples} samples, where the division of the data gives it {known}"
        if not 0 < told.samples <= MOST_SAMPLES:
            return f"the client has {told.samples} samples; 1 to {MOST_SAMPLES} are allowed"
        return ""

    def _held_problem(self, told: Hello) -> str:
        for part, found in (("validation", told.validation), ("test", told.test)):
            if found != self._run.held.get(part, found):
                return f"the client has {found} samples for {part}, where the run has {self._run.held[part]}"
            if found > MOST_HELD:
                return f"the client has {found} samples for {part}; at most {MOST_HELD} are allowed"
        return ""

    async def watch_certificates(self, drop: Callable[..., None]) -> None:
        """Drop clients whose certificates were revoked or replaced while their streams were open.

        A client whose certificate has expired is disconnected but still waited for: the clock may be wrong.
        If the records can't be read for `UNSEEN_SECONDS`, all clients are disconnected until they can, and waited for.
        """
        seen = time.monotonic()
        while True:
            await asyncio.sleep(1.0)
            try:
                self._drop_refused(drop)
                seen = time.monotonic()
            except NotRead as error:
                log.warning("it can't be read which certificates were revoked: %s", error)
                if time.monotonic() - seen > UNSEEN_SECONDS:
                    for state in (one for one in self._states if one.presence == HERE):
                        drop(state.client, "the server can't read its records", AWAY)

    def _drop_refused(self, drop: Callable[..., None]) -> None:
        for state in (one for one in self._states if one.presence == HERE):
            try:
                self._authority.check(Client(state.client, state.serial))
            except OutOfDate as error:
                drop(state.client, str(error), AWAY)
            except Untrusted as error:
                drop(state.client, str(error))

    async def _hello(self, context: grpc.aio.ServicerContext, state: ClientState) -> Frame | None:
        if not self._streams.allow(str(state.client)):
            problem = "too many connections; wait a minute"
            await self._refuse(context, state, grpc.StatusCode.RESOURCE_EXHAUSTED, problem, "rate")
        try:
            return await asyncio.wait_for(self._read(context, state, ("hello",)), HELLO_SECONDS)
        except TimeoutError:
            await self._refuse(
                context,
                state,
                grpc.StatusCode.DEADLINE_EXCEEDED,
                f"no Hello came within {HELLO_SECONDS:g} seconds",
                "rate",
            )
            raise

    async def _refuse(
        self,
        context: grpc.aio.ServicerContext,
        state: ClientState,
        code: grpc.StatusCode,
        problem: str,
        kind: str,
    ) -> None:
        state.rejected += 1
        self._metrics.rejected(state.client, kind)
        await context.abort(code, problem)
