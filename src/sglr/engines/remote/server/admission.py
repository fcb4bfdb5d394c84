"""Who is let in: the certificate counts, was not quarantined, and what the client says of itself fits the run."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence

import grpc
import grpc.aio

from sglr.core.errors import NotRead
from sglr.engines.remote.server.client_state import AWAY, HERE, Member
from sglr.engines.remote.server.metrics import Metrics
from sglr.engines.remote.server.opening import Opening
from sglr.engines.remote.trust.authority import Authority
from sglr.engines.remote.trust.peers import Client, OutOfDate, Untrusted
from sglr.engines.remote.trust.service import Attempts, peer_of
from sglr.engines.remote.wire.frames import Frame

log = logging.getLogger(__name__)

HELLO_SECONDS = 30.0
"""How long a stream may be open without a word."""

UNSEEN_SECONDS = 10.0
"""For how long clients stay while it can't be seen who was revoked."""

MOST_STREAMS = 120
"""Streams that one client may open a minute: with a bad line it opens a few."""

Read = Callable[[grpc.aio.ServicerContext, Member, Iterable[str]], Awaitable[Frame | None]]
"""Reads one message of some kinds; None if nothing came that can be believed."""


class Door:
    """Lets clients in.

    Parameters
    ----------
    opening
        What the run is.
    authority
        Whose certificates count.
    metrics
        Counts those who are turned away.
    members
        All clients.
    read
        Reads a message.
    """

    def __init__(
        self, opening: Opening, authority: Authority, metrics: Metrics, members: Sequence[Member], read: Read
    ) -> None:
        self._opening, self._authority, self._metrics = opening, authority, metrics
        self._members, self._read = members, read
        self._streams = Attempts(most=MOST_STREAMS)

    async def admit(self, context: grpc.aio.ServicerContext) -> tuple[Member, Client, Frame] | None:
        """Return who came, with its Hello; None if the stream is over. Who is turned away is told why."""
        peer = await peer_of(context, self._authority)
        if peer.number >= len(self._members):
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, f"this run has {len(self._members)} clients")
        member = self._members[peer.number]
        if member.state != HERE and peer.serial != member.serial:
            # A new certificate is a new beginning.
            member.serial, member.banned = peer.serial, False
        hello = await self._hello(context, member)
        # It may have been sent away meanwhile: for what it said, or for what it does on another stream.
        if member.banned and peer.serial == member.serial:
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, member.reason)
        await peer_of(context, self._authority)
        if hello is None:
            return None
        problem = self._opening.problem(member.client, hello)
        if problem:
            await self._refuse(context, member, grpc.StatusCode.FAILED_PRECONDITION, problem, "other")
        return member, peer, hello

    async def watch_certificates(self, drop: Callable[..., None]) -> None:
        """Have clients dropped whose certificates were revoked or replaced while their streams were open.

        Whose certificate has expired stays waited for: the clock may be wrong, which is no reason to train without
        somebody.

        Where that can't be seen for `UNSEEN_SECONDS`, all are dropped; they may come back when it can.
        """
        seen = time.monotonic()
        while True:
            await asyncio.sleep(1.0)
            try:
                self._drop_refused(drop)
                seen = time.monotonic()
            except NotRead as error:
                log.warning("it can't be seen who was revoked: %s", error)
                if time.monotonic() - seen > UNSEEN_SECONDS:
                    for member in (one for one in self._members if one.state == HERE):
                        drop(member.client, "the server can't read its records")

    def _drop_refused(self, drop: Callable[..., None]) -> None:
        for member in (one for one in self._members if one.state == HERE):
            try:
                self._authority.check(Client(member.client, member.serial))
            except OutOfDate as error:
                drop(member.client, str(error), AWAY)
            except Untrusted as error:
                drop(member.client, str(error))

    async def _hello(self, context: grpc.aio.ServicerContext, member: Member) -> Frame | None:
        if not self._streams.allow(str(member.client)):
            problem = "it connects too often; wait a minute"
            await self._refuse(context, member, grpc.StatusCode.RESOURCE_EXHAUSTED, problem, "rate")
        try:
            return await asyncio.wait_for(self._read(context, member, ("hello",)), HELLO_SECONDS)
        except TimeoutError:
            await self._refuse(context, member, grpc.StatusCode.DEADLINE_EXCEEDED, "no word came", "rate")
            raise

    async def _refuse(
        self, context: grpc.aio.ServicerContext, member: Member, code: grpc.StatusCode, problem: str, kind: str
    ) -> None:
        member.rejected += 1
        self._metrics.rejected(member.client, kind)
        await context.abort(code, problem)
