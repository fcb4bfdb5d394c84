"""The client's side of the network: one stream to the server, opened again whenever it breaks.

Requests are carried out one after another, each once: a request whose number was done already is answered from memory.
The event loop does input and output; computing happens in a thread, one at a time for all clients of a process.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio
from torch import Tensor

from sglr.core.checkpoint import DamagedCheckpoint
from sglr.core.errors import SglrError
from sglr.engines.remote.agreement import Agreement, most_bytes, most_norm
from sglr.engines.remote.gate import check_norm
from sglr.engines.remote.snapshots import Snapshots
from sglr.engines.remote.trust.identity import Identity
from sglr.engines.remote.trust.peers import Untrusted
from sglr.engines.remote.wire.frames import Frame, Malformed, decode, encode
from sglr.engines.remote.wire.layouts import Layout, read
from sglr.engines.remote.wire.messages_pb2 import Envelope
from sglr.engines.remote.worker import Worker
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
    )
)

OPTIONS: tuple[tuple[str, Any], ...] = (
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.compression_enabled_algorithms_bitset", 1),
    # Each client of a process has a connection of its own, with its own certificate.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_retries", 0),
)

KEPT_ANSWERS = 4
"""Answers that are kept in case the connection broke before they arrived; no more requests are open at a time."""

FIRST_WAIT, LONGEST_WAIT = 0.2, 20.0
"""Seconds between attempts to connect, doubled each time, with jitter."""

FATAL = {
    grpc.StatusCode.UNAUTHENTICATED: "the server does not accept this client",
    grpc.StatusCode.PERMISSION_DENIED: "the server turned this client away",
    grpc.StatusCode.FAILED_PRECONDITION: "the server and this client do not fit",
}


@dataclass
class Post:
    """A client's place in a run: who it is, what it computes with, where it keeps snapshots.

    Parameters
    ----------
    identity
        Its certificate and key.
    address
        The server's.
    agreement
        What both agreed on.
    segment
        Hash of its own segment.
    worker
        What computes.
    snapshots
        Where its state is kept.
    say
        Told what a person should know.
    """

    identity: Identity
    address: str
    agreement: Agreement
    segment: str
    worker: Worker
    snapshots: Snapshots
    say: Callable[[str], None] = field(default=lambda _: None)


class Client:
    """One client's life from joining to the end of the run.

    Parameters
    ----------
    post
        Its place.
    computing
        Where computing happens.
    patience
        Seconds without the server until it gives up.
    """

    def __init__(self, post: Post, computing: Executor, patience: float) -> None:
        self._post, self._computing, self._patience = post, computing, patience
        self._session, self._done, self._answers = 0, 0, dict[int, bytes]()
        self._most_bytes = most_bytes(post.worker.task.batch_size, post.agreement.cut_shape, post.worker.weights())
        self.leaving = asyncio.Event()
        self.finished = False
        self.summary: dict[str, Any] = {}

    async def run(self) -> dict[str, Any]:
        """Take part until the server says that the training is over; return what it says of it.

        Raises
        ------
        Untrusted
            If the server turns this client away.
        SglrError
            If the server stays away too long, or sends what can't be believed.
        """
        loop, wait = asyncio.get_running_loop(), FIRST_WAIT
        last_heard = loop.time()
        while not self.finished and not self.leaving.is_set():
            heard = await self._stream()
            if heard:
                last_heard, wait = loop.time(), FIRST_WAIT
            if self.finished or self.leaving.is_set():
                break
            if loop.time() - last_heard > self._patience:
                raise SglrError(f"the server at {self._post.address} did not answer for {self._patience:.0f} seconds")
            if not heard and wait > 2:
                self._post.say(f"the server at {self._post.address} does not answer; trying again")
            await self._sleep(wait * random.uniform(0.5, 1.0))
            wait = min(2 * wait, LONGEST_WAIT)
        return self.summary

    async def _sleep(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self.leaving.wait(), seconds)
        except TimeoutError:
            return

    async def _stream(self) -> bool:
        """Open a stream and serve it to its end; say whether the server spoke."""
        limits = [("grpc.max_receive_message_length", self._most_bytes), ("grpc.max_send_message_length", -1)]
        heard = False
        async with self._post.identity.channel(self._post.address, [*OPTIONS, *limits]) as channel:
            call = channel.stream_stream("/sglr.Split/Train")(wait_for_ready=False)
            leave = asyncio.create_task(self._leave(call))
            try:
                await call.write(self._hello())
                while (data := await call.read()) is not grpc.aio.EOF:
                    heard = True
                    await self._serve(call, data)
                    if self.finished:
                        await call.done_writing()
                        break
                await self._check_ending(await call.code(), await call.details() or "")
            except grpc.aio.AioRpcError as error:
                await self._check_ending(error.code(), error.details() or "")
            except asyncio.CancelledError:
                if not self.leaving.is_set():
                    raise
            except asyncio.InvalidStateError:  # the stream ended while it was written to
                await self._check_ending(await call.code(), await call.details() or "")
            finally:
                leave.cancel()
                call.cancel()
        return heard

    async def _leave(self, call: Any) -> None:
        await self.leaving.wait()
        call.cancel()

    async def _check_ending(self, code: grpc.StatusCode, details: str) -> None:
        if code in FATAL and not self.finished:
            raise Untrusted(f"{FATAL[code]}: {details}")
        if code == grpc.StatusCode.UNAVAILABLE and not self.finished:
            problem = await asyncio.to_thread(self._post.identity.diagnose, self._post.address)
            if isinstance(problem, Untrusted):
                raise problem
            log.info("%s", problem)
        elif code not in (grpc.StatusCode.OK, grpc.StatusCode.CANCELLED):
            log.info("the stream ended: %s %s", code, details)

    def _hello(self) -> bytes:
        post, envelope = self._post, Envelope()
        hello = envelope.hello
        hello.run, hello.segment, hello.version = post.agreement.run, post.segment, __version__
        hello.session, hello.done = self._session, self._done
        hello.samples = post.worker.samples
        hello.snapshots.extend(post.snapshots.steps())
        held = post.worker.task.held
        hello.validation, hello.test = len(held.get("validation", ())), len(held.get("test", ()))
        return encode(envelope)

    async def _serve(self, call: Any, data: bytes) -> None:
        """Carry out one request, unless it was done before, and answer it."""
        try:
            frame = decode(data, self._most_bytes, SERVER_KINDS)
        except Malformed as error:
            raise SglrError(f"the server sent what can't be believed: {error}") from error
        if frame.kind == "welcome":
            self._welcomed(frame)
            return
        seq = frame.envelope.seq
        if seq > self._done:
            loop = asyncio.get_running_loop()
            answer = await loop.run_in_executor(self._computing, self._carry_out, frame)
            self._done = seq
            if answer is not None:
                self._answers[seq] = answer
            for old in sorted(self._answers)[:-KEPT_ANSWERS]:
                del self._answers[old]
        if seq in self._answers:
            await call.write(self._answers[seq])

    def _welcomed(self, frame: Frame) -> None:
        welcome = frame.envelope.welcome
        if welcome.session != self._session:
            # The server does not know what this client did, or this client does not: both begin anew.
            self._session, self._done, self._answers = welcome.session, 0, {}
            self._post.worker.drop_passes()
        log.info("connected", extra={"event": "connected", "client": self._post.identity.client})

    def _carry_out(self, frame: Frame) -> bytes | None:
        """Do what a request asks, in the computing thread; return the answer, if it wants one."""
        try:
            tensors = _Requests(self._post).answer(frame)
        except (Malformed, ValueError, KeyError) as error:
            self._post.say(f"the server asked for what can't be done ({frame.kind}): {error}")
            tensors = Envelope(), {}
            tensors[0].refusal.reason = str(error)[:500]
        except DamagedCheckpoint as error:
            tensors = Envelope(), {}
            tensors[0].refusal.reason = str(error)[:500]
        if frame.kind == "finish":
            self.finished, self.summary = True, _json(frame.envelope.finish.summary)
        if tensors is None:
            return None
        envelope, payload = tensors
        envelope.seq = frame.envelope.seq
        return encode(envelope, payload)


Answer = tuple[Envelope, dict[str, Tensor]]


class _Requests:
    """What each request means."""

    def __init__(self, post: Post) -> None:
        self._post, self._worker = post, post.worker

    def answer(self, frame: Frame) -> Answer | None:
        if frame.kind not in ("forward", "gradient"):
            # Whatever ran ahead is no longer wanted.
            self._worker.drop_passes()
        answer: Answer | None = getattr(self, f"_{frame.kind}")(frame)
        return answer

    def _forward(self, frame: Frame) -> Answer:
        where = frame.envelope.where
        if len(self._worker) > self._worker.task.ahead:
            self._worker.drop_passes()
        return self._smashed(where.epoch, where.step)

    def _smashed(self, epoch: int, step: int) -> Answer:
        envelope = Envelope()
        envelope.smashed.SetInParent()
        return envelope, self._worker.forward(epoch, step)

    def _gradient(self, frame: Frame) -> Answer | None:
        where, told = frame.envelope.where, frame.envelope.gradient
        shape = self._worker.shape_of(where.epoch, where.step)
        if shape is None:
            raise Malformed("a gradient came for a step that this client did not take")
        layout: Layout = self._worker.task.codec.layout(shape)
        parts = read(frame, layout)
        gradient = self._worker.task.codec.decode(parts, shape)
        check_norm("the gradient", gradient, most_norm(gradient.numel()))
        if not 0 <= told.rate < 1e6:
            raise Malformed(f"the learning rate {told.rate} is none")
        self._worker.backward(gradient, told.rate)
        if not told.then_forward:
            return None
        return self._smashed(where.epoch, where.step + 1 + self._worker.task.ahead)

    def _collect(self, frame: Frame) -> Answer:
        del frame
        envelope = Envelope()
        envelope.weights.SetInParent()
        return envelope, self._worker.weights()

    def _publish(self, frame: Frame) -> None:
        self._worker.load(self._weights_of(frame))

    def _weights_of(self, frame: Frame) -> dict[str, Tensor]:
        own = self._worker.weights()
        layout: Layout = {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in own.items()}
        return read(frame, layout, most_norm=most_norm(sum(tensor.numel() for tensor in own.values())))

    def _snapshot(self, frame: Frame) -> Answer:
        where, told = frame.envelope.where, frame.envelope.snapshot
        return _done(self._post.snapshots.write(where.steps, self._worker.state(), best=told.best))

    def _restore(self, frame: Frame) -> Answer:
        told = frame.envelope.restore
        self._worker.restore(self._post.snapshots.read(told.steps, told.digest))
        return _done("")

    def _evaluate(self, frame: Frame) -> Answer:
        told = frame.envelope.evaluate
        shared = self._weights_of(frame) if frame.payloads else None
        again = told.shared and shared is None
        envelope = Envelope()
        found = self._worker.score(told.part, told.first, told.count, shared, again=again)
        envelope.scores.samples = len(found["labels"])
        return envelope, found

    def _alone(self, frame: Frame) -> Answer:
        where, told = frame.envelope.where, frame.envelope.alone
        tally = self._worker.pass_alone(where.epoch, told.rate)
        envelope = Envelope()
        answer = envelope.tally
        answer.loss, answer.correct, answer.samples = tally.loss, tally.correct, tally.samples
        answer.bad_step = -1 if tally.bad_step is None else tally.bad_step
        return envelope, {}

    def _digest(self, frame: Frame) -> Answer:
        del frame
        return _done(self._worker.digest())

    def _finish(self, frame: Frame) -> Answer:
        del frame
        return _done("")


def _done(digest: str) -> Answer:
    envelope = Envelope()
    envelope.done.digest = digest
    return envelope, {}


def _json(text: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(text or "{}")
    except ValueError:
        return {}
    return found
