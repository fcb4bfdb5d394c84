"""Predictions: a client sends smashed data, the server answers with what its segment makes of them.

The server learns no inputs and no labels. Every call is checked by its certificate before anything of it is read, so
that a revoked client gets no further answer; the holder of a join token gets none.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import NoReturn

import grpc
import grpc.aio
import torch
from torch import Tensor, nn

from sglr.core.codec import Codec, Plain
from sglr.core.errors import ExtremeValues
from sglr.core.weights import Weights
from sglr.engines.remote.limits import ENVELOPE_BYTES, most_norm, most_predicted
from sglr.engines.remote.server.batcher import Batcher
from sglr.engines.remote.server.metrics import Metrics
from sglr.engines.remote.server.usage import Usage
from sglr.engines.remote.trust.authority import Authority
from sglr.engines.remote.trust.service import SERVICE, Attempts, peer_of
from sglr.engines.remote.wire.frames import Frame, Malformed, decode, encode
from sglr.engines.remote.wire.layouts import Layout, check_layout, check_norm, read
from sglr.engines.remote.wire.messages_pb2 import Envelope

log = logging.getLogger(__name__)

MOST_OPEN = 8
"""Requests of one client that may be open at a time."""

MOST_READ = 64
"""Requests that are in memory at a time; others wait unread."""

SEGMENTS_A_MINUTE = 10
"""How often a client may ask for shared weights."""

AGAIN = "retry-after"
"""In the trailing metadata of a refusal: after so many seconds the request may be answered."""

Answer = Callable[[int, grpc.aio.ServicerContext], Awaitable[bytes]]


@dataclass(frozen=True)
class ServedNetwork:
    """The server's part of a trained network.

    Parameters
    ----------
    segment
        The upper segment, in evaluation mode, on ``device``.
    codec
        How smashed data are written.
    cut_shape, answer_shape
        Shapes of one sample's smashed data, and of what the segment makes of it: outputs, or features for a tail.
    shared
        The clients' weights, where all have the same; None where each has its own.
    device
        Where the segment is.
    """

    segment: nn.Module
    codec: Codec
    cut_shape: tuple[int, ...]
    answer_shape: tuple[int, ...]
    shared: Weights | None = None
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def most(self) -> int:
        """Samples of one request."""
        return most_predicted(self.cut_shape, self.answer_shape)

    @property
    def most_bytes(self) -> int:
        """Length of the longest request."""
        return ENVELOPE_BYTES + self.codec.bytes((self.most, *self.cut_shape))


@dataclass(frozen=True)
class PredictionLimits:
    """What a server of predictions grants each client.

    Parameters
    ----------
    samples
        Samples that it may ask about in a minute.
    seconds
        How long a request may take here; after that it is refused.
    """

    samples: int = 1_000_000
    seconds: float = 30.0


class PredictionService:
    """Answers ``Predict`` and ``Segment``.

    Parameters
    ----------
    network
        What answers.
    limits
        What each client may ask.
    clients
        |C|.
    authority
        Knows who may call.
    metrics
        Counts messages and refusals.
    """

    def __init__(
        self, network: ServedNetwork, limits: PredictionLimits, clients: int, authority: Authority, metrics: Metrics
    ) -> None:
        self._network, self._limits, self._clients = network, limits, clients
        self._authority, self._metrics = authority, metrics
        self.usage = Usage(clients)
        self.batcher = Batcher(network.segment, network.device)
        self._samples = Attempts(most=limits.samples)
        self._segments = Attempts(most=SEGMENTS_A_MINUTE)
        self._open: Counter[int] = Counter()
        self._seats = asyncio.Semaphore(MOST_READ)

    def handlers(self) -> grpc.GenericRpcHandler:
        """Return the handlers, as streams of one message each way: nothing is read before it is known who calls."""
        calls = {"Predict": self._handler(self._predict), "Segment": self._handler(self._segment)}
        return grpc.method_handlers_generic_handler(SERVICE, calls)

    def _handler(self, answer: Answer) -> grpc.RpcMethodHandler:
        async def call(messages: object, context: grpc.aio.ServicerContext) -> None:
            del messages
            client = (await peer_of(context, self._authority)).number
            if client >= self._clients:
                await context.abort(grpc.StatusCode.PERMISSION_DENIED, f"this run has {self._clients} clients")
            self.usage.seen(client)
            await context.write(await answer(client, context))

        return grpc.stream_stream_rpc_method_handler(call)

    async def _segment(self, client: int, context: grpc.aio.ServicerContext) -> bytes:
        """Return the weights that all clients share."""
        if self._network.shared is None:
            told = "each client of this run has weights of its own, which the server does not have"
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, told)
        if not self._segments.allow(str(client)):
            await self._refuse(context, client, "rate", "the weights were asked for too often", self._segments)
        envelope = Envelope()
        envelope.publish.SetInParent()
        answer = encode(envelope, self._network.shared or {})
        self._metrics.message(client, "publish", False, len(answer))
        return answer

    async def _predict(self, client: int, context: grpc.aio.ServicerContext) -> bytes:
        began = time.monotonic()
        try:
            async with asyncio.timeout(self._limits.seconds), self._seat(client, context):
                return await self._answered(client, context, began)
        except TimeoutError:
            told = f"the server is busy: the request was not answered within {self._limits.seconds:g} seconds"
            await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, told)
            raise

    @asynccontextmanager
    async def _seat(self, client: int, context: grpc.aio.ServicerContext) -> AsyncIterator[None]:
        """Let one request in, if its client has not too many open ones, as soon as memory allows."""
        if self._open[client] >= MOST_OPEN:
            await self._refuse(context, client, "rate", f"more than {MOST_OPEN} requests of one client at a time")
        self._open[client] += 1
        try:
            async with self._seats:
                yield
        finally:
            self._open[client] -= 1

    async def _answered(self, client: int, context: grpc.aio.ServicerContext, began: float) -> bytes:
        content = await context.read()
        data = b"" if content is grpc.aio.EOF else content
        self._metrics.message(client, "smashed", True, len(data))
        try:
            smashed = self._smashed(decode(data, self._network.most_bytes, ("smashed",)))
        except (Malformed, ExtremeValues, ValueError) as error:
            kind = "values" if isinstance(error, ExtremeValues) else "frame"
            await self._refuse(context, client, kind, str(error), code=grpc.StatusCode.INVALID_ARGUMENT)
        if not self._samples.allow(str(client), len(smashed)):
            told = f"at most {self._limits.samples} samples of one client are answered a minute"
            await self._refuse(context, client, "rate", told, self._samples)
        waited = time.monotonic() - began
        outputs = await self._outputs(smashed, context)
        envelope = Envelope()
        envelope.features.SetInParent()
        answer = encode(envelope, {"values": outputs})
        self._count(client, len(data), len(answer), len(smashed), waited, time.monotonic() - began)
        return answer

    async def _outputs(self, smashed: Tensor, context: grpc.aio.ServicerContext) -> Tensor:
        try:
            return await self.batcher.outputs(smashed)
        except (RuntimeError, MemoryError) as error:  # torch's, such as a want of memory
            log.warning("a request can't be computed: %s", error)
            await context.abort(grpc.StatusCode.INTERNAL, "the server can't compute it; its log says why")
            raise

    def _smashed(self, frame: Frame) -> Tensor:
        """Return smashed data ``[b, ...]`` as decoded, having checked everything about them."""
        tensors = frame.envelope.tensors
        count = tensors[0].shape[0] if tensors and tensors[0].shape else 0
        if not 0 < count <= self._network.most:
            raise Malformed(f"{count} samples in a request; 1 to {self._network.most} are allowed")
        shape, codec = (count, *self._network.cut_shape), self._network.codec
        layout: Layout = {**codec.layout(shape)}
        check_layout(frame, layout)
        most = most_norm(torch.Size(shape).numel())
        if isinstance(codec, Plain):
            return read(frame, layout, most_norm=most)["values"]
        smashed = codec.decode(read(frame, layout), shape)
        check_norm("smashed data", codec.learned(smashed), most)
        return smashed

    def _count(self, client: int, up: int, down: int, samples: int, waited: float, seconds: float) -> None:
        self._metrics.message(client, "features", False, down)
        self._metrics.step(waited, seconds - waited, 0.0)
        self.usage.answered(client, samples, up, down, seconds)

    async def _refuse(
        self,
        context: grpc.aio.ServicerContext,
        client: int,
        kind: str,
        problem: str,
        renewed: Attempts | None = None,
        code: grpc.StatusCode = grpc.StatusCode.RESOURCE_EXHAUSTED,
    ) -> NoReturn:
        """Refuse a request; ``renewed`` tells after how long it may be sent again."""
        self.usage.refused(client)
        self._metrics.rejected(client, kind)
        wait = () if renewed is None else ((AGAIN, f"{renewed.renewed_in + 1:.0f}"),)
        await context.abort(code, problem, trailing_metadata=wait)
        raise AssertionError("abort raises")
