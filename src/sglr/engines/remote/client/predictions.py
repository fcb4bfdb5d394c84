"""The client's side of a split prediction: smashed data go to the server in batches, several under way at a time."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import grpc
import torch
from torch import Tensor

from sglr.core.codec import Codec
from sglr.core.errors import ExtremeValues, SglrError
from sglr.core.weights import Weights
from sglr.engines.remote.client.connection import OPTIONS
from sglr.engines.remote.limits import ENVELOPE_BYTES, most_norm, most_predicted
from sglr.engines.remote.trust.identity import Identity
from sglr.engines.remote.trust.peers import Unreachable, Untrusted
from sglr.engines.remote.wire.frames import Malformed, decode, encode, shown
from sglr.engines.remote.wire.layouts import Layout, check_buffers, read
from sglr.engines.remote.wire.messages_pb2 import Envelope

UNDER_WAY = 4
"""Requests that are open at a time, so that neither side waits for the other or the way between them."""

AGAIN, MOST_AGAIN, LONGEST_AGAIN = "retry-after", 5, 60.0
"""A request that came too often is sent again after the seconds that the server says, so many times at most."""

QUICK_SECONDS = 0.25
"""While answers come within this time, the next requests hold more batches, as small ones cost mostly messages."""

GROUP_BYTES = 1 << 20
"""Bytes of the smashed data of a request of several batches, at most."""

_REFUSED = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)


@dataclass(frozen=True)
class PredictionTerms:
    """What both sides know of a request.

    Parameters
    ----------
    codec
        How smashed data are written.
    cut_shape, answer_shape
        Shapes of one sample's smashed data, and of what the server answers.
    seconds
        The deadline of a request.
    """

    codec: Codec
    cut_shape: tuple[int, ...]
    answer_shape: tuple[int, ...]
    seconds: float = 30.0

    @property
    def most(self) -> int:
        """Samples of one request."""
        return most_predicted(self.cut_shape, self.answer_shape)


class ServerSegment:
    """The server's segment, as a client asks it.

    Parameters
    ----------
    identity
        The client's.
    address
        ``HOST:PORT`` of the server.
    terms
        What is asked and answered.
    say
        Called with messages for the user.

    Attributes
    ----------
    address
        The same.
    """

    def __init__(
        self, identity: Identity, address: str, terms: PredictionTerms, say: Callable[[str], None] = lambda _: None
    ) -> None:
        self._identity, self.address, self._terms, self._say = identity, address, terms, say
        self._together = 0  # samples of a request of several batches

    def outputs(self, batches: Iterable[Tensor]) -> Iterator[Tensor]:
        """Yield what the server makes of batches of smashed data ``[b, ...]``, in their order, of several as one.

        Small batches go together in one request as long as answers come quickly (`QUICK_SECONDS`).

        Raises
        ------
        SglrError
            If the server does not answer in time, refuses, or answers anything but finite numbers.
        """
        longest = ENVELOPE_BYTES + 4 * self._terms.most * max(1, torch.Size(self._terms.answer_shape).numel())
        with self._identity.sync_channel(self.address, _options(longest)) as channel:
            ask = channel.unary_unary("/sglr.Split/Predict")
            under_way: deque[_Request] = deque()
            try:
                for batch in self._grouped(batches):
                    request = _Request(encode(_smashed(), self._terms.codec.encode(batch)), len(batch))
                    request.send(ask, self._terms.seconds)
                    under_way.append(request)
                    if len(under_way) == UNDER_WAY:
                        yield self._answer(ask, under_way.popleft(), longest)
                while under_way:
                    yield self._answer(ask, under_way.popleft(), longest)
            finally:
                for request in under_way:
                    request.call.cancel()

    def _grouped(self, batches: Iterable[Tensor]) -> Iterator[Tensor]:
        group: list[Tensor] = []
        for batch in batches:
            if group and sum(map(len, group)) + len(batch) > self._together:
                yield torch.cat(group)
                group = []
            group.append(batch)
        if group:
            yield torch.cat(group)

    def _adapt(self, request: _Request) -> None:
        """Let the next requests be larger if this one was answered quickly, and smaller if not."""
        sample = 4 * max(1, torch.Size(self._terms.cut_shape).numel())
        most = min(self._terms.most, GROUP_BYTES // sample)
        quick = time.monotonic() - request.sent < QUICK_SECONDS
        self._together = min(most, 2 * max(request.samples, self._together)) if quick else request.samples // 2

    def _answer(self, ask: Any, request: _Request, longest: int) -> Tensor:
        for _ in range(MOST_AGAIN):
            try:
                data = request.call.result()
                self._adapt(request)
                return self._read(data, request, longest)
            except grpc.RpcError as error:
                wait = _wait_of(error)
                if wait is None:
                    raise _explained(error, self._identity, self.address, self._terms.seconds) from None
                self._together = 0
                self._say(f"{self.address}: {shown(error.details() or '')}; trying again in {wait:.0f} seconds")
                time.sleep(wait)
                request.send(ask, self._terms.seconds)
        raise SglrError(f"{self.address} refused a request {MOST_AGAIN} times, because requests come too often")

    def _read(self, data: bytes, request: _Request, longest: int) -> Tensor:
        shape = (request.samples, *self._terms.answer_shape)
        layout: Layout = {"values": (torch.float32, shape)}
        try:
            frame = decode(data, longest, ("features",))
            return read(frame, layout, most_norm=most_norm(torch.Size(shape).numel()))["values"]
        except (Malformed, ExtremeValues) as error:
            raise SglrError(f"invalid answer from {self.address}: {error}") from error

    def shared_weights(self, own: Weights) -> Weights:
        """Return the weights that all clients of the run share; they are compared with names and shapes of ``own``.

        Raises
        ------
        SglrError
            If the server has none, does not answer, or sends others.
        """
        layout: Layout = {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in own.items()}
        longest = ENVELOPE_BYTES + sum(tensor.numel() * tensor.itemsize for tensor in own.values())
        with self._identity.sync_channel(self.address, _options(longest)) as channel:
            try:
                data: bytes = channel.unary_unary("/sglr.Split/Segment")(b"", timeout=self._terms.seconds)
            except grpc.RpcError as error:
                raise _explained(error, self._identity, self.address, self._terms.seconds) from None
        most = most_norm(sum(tensor.numel() for tensor in own.values()))
        try:
            weights = read(decode(data, longest, ("publish",)), layout, most_norm=most)
            check_buffers(weights)
        except (Malformed, ExtremeValues) as error:
            raise SglrError(f"invalid weights from {self.address}: {error}") from error
        return weights


@dataclass
class _Request:
    """A request that may have to be sent again."""

    data: bytes
    samples: int
    call: Any = None
    sent: float = 0.0

    def send(self, ask: Any, seconds: float) -> None:
        self.sent = time.monotonic()
        self.call = ask.future(self.data, timeout=seconds)


def _options(longest: int) -> list[tuple[str, Any]]:
    return [*OPTIONS, ("grpc.max_receive_message_length", longest), ("grpc.max_send_message_length", -1)]


def _smashed() -> Envelope:
    envelope = Envelope()
    envelope.smashed.SetInParent()
    return envelope


def _wait_of(error: grpc.RpcError) -> float | None:
    """Return after how many seconds a refused request may be sent again; None if never."""
    told = dict(error.trailing_metadata() or ()).get(AGAIN)
    if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED or told is None:
        return None
    return min(float(told), LONGEST_AGAIN) if str(told).isdigit() else None


def _explained(error: grpc.RpcError, identity: Identity, address: str, seconds: float) -> SglrError:
    code, told = error.code(), shown(error.details() or "")
    if code is grpc.StatusCode.UNAVAILABLE:
        return identity.diagnose(address)
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        busy = told if told.startswith("the server") else f"no answer within {seconds:g} seconds"
        return Unreachable(f"{address}: {busy}; ask for fewer samples at a time (--batch-size), or wait (--timeout)")
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return SglrError(f"the server at {address} trains and answers no predictions: sglr serve RUN --predict does")
    if code in _REFUSED:
        return Untrusted(f"{address} refused this client: {told}")
    return SglrError(f"{address} refused the request: {told or code.name}")
