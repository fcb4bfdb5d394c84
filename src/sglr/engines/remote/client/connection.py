"""The client's side of the network: one stream to the server, opened again whenever it breaks.

Requests are carried out one after another, each once: a repeated request gets the answer that was kept.
The event loop does input and output; computations of all clients of a process are done one at a time, in a thread
unless they are short (`sglr.engines.remote.client.computing`).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import grpc
import grpc.aio

from sglr.core.errors import DivergedError, SglrError
from sglr.engines.remote.client.computing import Computing, Durations
from sglr.engines.remote.client.handlers import LeftUndone, RequestHandlers
from sglr.engines.remote.client.session import Session
from sglr.engines.remote.client.snapshots import Snapshots
from sglr.engines.remote.client.trainer import LocalTrainer
from sglr.engines.remote.limits import most_bytes
from sglr.engines.remote.run_description import CONNECTION, DIVERGED, RunDescription
from sglr.engines.remote.trust.identity import Identity
from sglr.engines.remote.trust.peers import Unreachable, Untrusted
from sglr.engines.remote.wire.frames import Frame, Malformed, decode, encode, shown
from sglr.engines.remote.wire.messages_pb2 import Envelope
from sglr.version import __version__

log = logging.getLogger(__name__)

SERVER_KINDS = frozenset(
    (
        "welcome",
        "forward",
        "gradient",
        "collect",
        "publish",
        "snapshot",
        "restore",
        "evaluate",
        "alone",
        "digest",
        "finish",
        "features",
    )
)

OPTIONS: tuple[tuple[str, Any], ...] = (
    *CONNECTION,
    # Each client of a process has its own connection, with its own certificate.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_retries", 0),
)

STEP_KINDS = frozenset(("forward", "gradient", "features"))
"""Requests of a step, which some clients carry out in a millisecond."""

KEPT_ANSWERS = 4
"""Answers that are kept in case the connection broke before they arrived, beside those of passes ahead; no more
requests than that are open."""

FIRST_WAIT, LONGEST_WAIT = 0.2, 20.0
"""Seconds between attempts to connect, doubled each time, with jitter."""

FAREWELL_SECONDS = 2.0
"""How long a client that leaves, or was told that the training is over, waits for the server to end the stream."""

MOST_REASON = 1000
"""Most characters that are shown of the reason why a training diverged."""

FATAL = {
    grpc.StatusCode.UNAUTHENTICATED: "the server does not accept this client",
    grpc.StatusCode.PERMISSION_DENIED: "the server refused this client",
    grpc.StatusCode.FAILED_PRECONDITION: "the server and this client do not fit",
}


@dataclass
class ClientContext:
    """What a client needs to take part: its identity, its trainer, its snapshots.

    Parameters
    ----------
    identity
        Its certificate and key.
    address
        The server's.
    description
        The run.
    segment
        Hash of its own segment.
    trainer
        Computes.
    snapshots
        Where its state is kept.
    say
        Called with messages for the user.
    relay
        The address of a relay to the server through which it connects; None connects directly.
    """

    identity: Identity
    address: str
    description: RunDescription
    segment: str
    trainer: LocalTrainer
    snapshots: Snapshots
    say: Callable[[str], None] = field(default=lambda _: None)
    relay: str | None = None


class ClientConnection:
    """One client's life from joining to the end of the run.

    Parameters
    ----------
    context
        What it needs.
    computing
        Does computations, one at a time.
    patience
        Seconds without the server until it gives up.
    """

    def __init__(self, context: ClientContext, computing: Computing, patience: float) -> None:
        self._context, self._computing, self._patience = context, computing, patience
        self._left = context.snapshots.folder / "left.safetensors"
        self._session = Session.take_over(self._left, context.trainer) or Session()
        job, written = context.trainer.job, [(context.trainer.job.codec, context.description.cut_shape)]
        batch = min(job.batching.longest(context.description.clients), context.trainer.samples)
        of_run = context.trainer.features, context.description.targets
        self._most_bytes = most_bytes(batch, written, *of_run, context.trainer.weights())
        self.leaving, self._writing = asyncio.Event(), asyncio.Lock()
        self._handlers = RequestHandlers(context.trainer, context.snapshots, context.say, self.leaving.is_set)
        self._durations = Durations(STEP_KINDS)
        self.finished = False
        self.summary: dict[str, Any] = {}

    async def run(self) -> dict[str, Any]:
        """Take part until the server says that the training is over; return the server's summary.

        Raises
        ------
        Untrusted
            If the server refuses this client.
        Unreachable
            If the server stays away too long.
        DivergedError
            If the server says that the training can't go on.
        SglrError
            If it sends a malformed message.
        """
        loop, wait = asyncio.get_running_loop(), FIRST_WAIT
        last_heard = loop.time()
        while not self.finished and not self.leaving.is_set():
            done = self._session.done
            heard = await self._stream()
            if heard:
                last_heard = loop.time()
            if self._session.done != done:
                # After a stream without requests, wait longer before the next.
                wait = FIRST_WAIT
            if self.finished or self.leaving.is_set():
                break
            if loop.time() - last_heard > self._patience:
                told = f"the server at {self._context.address} did not answer for {self._patience:.0f} seconds"
                raise Unreachable(f"{told}; if the training is not over, start this client again")
            if not heard and wait > 2:
                self._context.say(f"the server at {self._context.address} does not answer; trying again")
            await self._sleep(wait * random.uniform(0.5, 1.0))
            wait = min(2 * wait, LONGEST_WAIT)
        if not self.finished and self._session.id:
            try:
                self._session.write(self._left, self._context.trainer)
            except OSError as error:
                self._context.say(f"the work since the last snapshot can't be saved ({error}) and will be repeated")
        return self.summary

    async def _sleep(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self.leaving.wait(), seconds)
        except TimeoutError:
            return

    async def _stream(self) -> bool:
        """Open a stream and serve it to its end; return whether the server sent anything."""
        limits = [("grpc.max_receive_message_length", self._most_bytes), ("grpc.max_send_message_length", -1)]
        heard = False
        address = self._context.relay or self._context.address
        async with self._context.identity.channel(address, [*OPTIONS, *limits]) as channel:
            call = channel.stream_stream("/sglr.Split/Train")(wait_for_ready=False)
            farewell = asyncio.create_task(self._say_farewell(call))
            try:
                await call.write(self._hello())
                while (data := await call.read()) is not grpc.aio.EOF:
                    heard = True
                    if self.leaving.is_set():
                        continue  # the server asks again when this client is back
                    await self._serve(call, data)
                    if self.finished:
                        await call.done_writing()
                        # So that the answer arrives; further messages from the server are not waited for.
                        await asyncio.wait((asyncio.ensure_future(call.code()),), timeout=FAREWELL_SECONDS)
                        return True
                if not self.leaving.is_set():
                    await self._check_ending(await call.code(), await call.details() or "")
            except asyncio.CancelledError:
                if not self.leaving.is_set():
                    raise
            except grpc.aio.AioRpcError as error:
                await self._check_ending(error.code(), error.details() or "")
            except asyncio.InvalidStateError:  # the stream ended while it was written to
                await self._check_ending(await call.code(), await call.details() or "")
            finally:
                farewell.cancel()
                call.cancel()
        return heard

    async def _say_farewell(self, call: Any) -> None:
        """When this client leaves, tell the server, and wait briefly until it ends the stream."""
        await self.leaving.wait()
        envelope = Envelope()
        envelope.leaving.SetInParent()
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            async with self._writing:
                await call.write(encode(envelope))
                await call.done_writing()
        await asyncio.sleep(FAREWELL_SECONDS)
        call.cancel()

    async def _check_ending(self, code: grpc.StatusCode, details: str) -> None:
        if code == DIVERGED and not self.finished:
            raise DivergedError(shown(details, MOST_REASON))
        details = shown(details)
        if code == grpc.StatusCode.RESOURCE_EXHAUSTED and "larger than max" in details:  # gRPC's own message
            raise SglrError(f"the server sent a message of more than {self._most_bytes} bytes, the longest of this run")
        if code in FATAL and not self.finished:
            raise Untrusted(f"{FATAL[code]}: {details}")
        if code == grpc.StatusCode.UNAVAILABLE and not self.finished:
            problem = await asyncio.to_thread(self._context.identity.diagnose, self._context.address)
            if isinstance(problem, Untrusted):
                raise problem
            log.info("%s", problem)
        elif code not in (grpc.StatusCode.OK, grpc.StatusCode.CANCELLED):
            log.info("the stream ended: %s %s", code, details)

    def _hello(self) -> bytes:
        context, envelope = self._context, Envelope()
        hello = envelope.hello
        hello.run, hello.segment, hello.version = context.description.run, context.segment, __version__
        hello.session, hello.done = self._session.id, self._session.done
        hello.samples = context.trainer.samples
        hello.snapshots.extend(context.snapshots.steps())
        held = context.trainer.job.held
        hello.validation, hello.test = len(held.get("validation", ())), len(held.get("test", ()))
        return encode(envelope)

    async def _serve(self, call: Any, data: bytes) -> None:
        """Carry out one request, unless it was done before, and answer it."""
        try:
            frame = decode(data, self._most_bytes, SERVER_KINDS)
        except Malformed as error:
            raise SglrError(f"invalid message from the server: {error}") from error
        if frame.kind == "welcome":
            self._welcomed(frame)
            return
        seq = frame.envelope.seq
        if seq > self._session.done:
            kind, work = frame.kind, partial(self._carry_out, frame)
            try:
                answer = await self._computing.run(
                    partial(self._durations.timed, kind, work), short=self._durations.short(kind)
                )
            except LeftUndone:
                return
            self._session.keep(seq, answer, KEPT_ANSWERS + self._context.trainer.job.ahead)
        if seq in self._session.answers:
            async with self._writing:
                await call.write(self._session.answers[seq])

    def _welcomed(self, frame: Frame) -> None:
        welcome = frame.envelope.welcome
        if welcome.session != self._session.id:
            # One side has lost the session: both begin a new one.
            self._session.begin(welcome.session)
            self._context.trainer.drop_passes()
            self._context.trainer.batches.forget()
        log.info("connected", extra={"event": "connected", "client": self._context.identity.client})

    def _carry_out(self, frame: Frame) -> bytes | None:
        """Carry out a request, wherever computing is done; return the answer, if it has one."""
        answer = self._handlers.carry_out(frame)
        if frame.kind == "finish":
            self.finished, self.summary = True, _json(frame.envelope.finish.summary)
        return answer


def _json(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
