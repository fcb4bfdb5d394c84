"""Calls beside the stream: the description of the run, its status, and a probe of the bandwidth.

The holder of a join token may ask for the description and the probe, too: it could enrol and then ask.

The caller is checked before any of its message is read: so these are handlers of streams, which on the wire are the
same as calls with one message each way.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import grpc
import grpc.aio

from sglr.engines.remote.run_description import RunDescription
from sglr.engines.remote.server.metrics import Metrics
from sglr.engines.remote.trust.authority import Authority
from sglr.engines.remote.trust.peers import Applicant, Client
from sglr.engines.remote.trust.service import SERVICE, Attempts, caller_of, peer_of
from sglr.engines.remote.wire import probe

MOST_CALLS = 300
"""Calls of one client a minute; one that watches the status calls every second."""

Answer = Callable[[grpc.aio.ServicerContext], Awaitable[bytes]]
Who = Callable[[grpc.aio.ServicerContext, Authority], Awaitable[Client | Applicant]]


def calls(
    authority: Authority, description: RunDescription, status: Callable[[], Mapping[str, Any]], metrics: Metrics
) -> grpc.GenericRpcHandler:
    """Return the handlers of ``RunDescription``, ``Probe`` and ``Status``.

    Parameters
    ----------
    authority
        Knows who may call.
    description
        The run.
    status
        Returns the status.
    metrics
        Counts callers that call too often.
    """
    attempts = Attempts(most=MOST_CALLS)

    async def describe(context: grpc.aio.ServicerContext) -> bytes:
        del context
        return description.encode()

    async def tell_status(context: grpc.aio.ServicerContext) -> bytes:
        del context
        return json.dumps(status()).encode()

    async def echo(context: grpc.aio.ServicerContext) -> bytes:
        request = await context.read()
        return probe.answer(b"" if request is grpc.aio.EOF else request)

    def limited(answer: Answer, who: Who) -> grpc.RpcMethodHandler:
        async def call(messages: object, context: grpc.aio.ServicerContext) -> None:
            del messages
            peer = await who(context, authority)
            if not attempts.allow(str(peer.number)):
                metrics.rejected(peer.number, "rate")
                await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many calls; wait a minute")
            await context.write(await answer(context))

        return grpc.stream_stream_rpc_method_handler(call)

    handlers = {
        "Agreement": limited(describe, caller_of),
        "Probe": limited(echo, caller_of),
        "Status": limited(tell_status, peer_of),
    }
    return grpc.method_handlers_generic_handler(SERVICE, handlers)
