"""A server that is just ending is one that is not there yet: who asks it what the run is tries again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import grpc
import pytest

from sglr.core.errors import SglrError
from sglr.engines.remote.trust.peers import Unreachable
from sglr.sites.join import ask_description


@pytest.fixture
def answering() -> Iterator[Callable[[grpc.StatusCode], str]]:
    """Start servers that answer with a status and nothing else; return their addresses."""
    servers: list[grpc.Server] = []

    def start(code: grpc.StatusCode) -> str:
        server = grpc.server(ThreadPoolExecutor(1))
        handler = grpc.unary_unary_rpc_method_handler(lambda _, context: context.abort(code, "so it is"))
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("sglr.Split", {"Agreement": handler}),))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        servers.append(server)
        return f"127.0.0.1:{port}"

    yield start
    for server in servers:
        server.stop(None)


IDENTITY: Any = SimpleNamespace(sync_channel=grpc.insecure_channel)


@pytest.mark.parametrize("name", ["CANCELLED", "UNKNOWN", "INTERNAL", "ABORTED"])
def test_what_passes_is_asked_again(name, answering):
    with pytest.raises(Unreachable, match=f"did not say what the run is: {name}, so it is"):
        ask_description(answering(grpc.StatusCode[name]), IDENTITY)


@pytest.mark.parametrize("name", ["PERMISSION_DENIED", "UNAUTHENTICATED", "UNIMPLEMENTED"])
def test_a_refusal_is_final(name, answering):
    with pytest.raises(SglrError, match="refused this client: so it is") as found:
        ask_description(answering(grpc.StatusCode[name]), IDENTITY)
    assert not isinstance(found.value, Unreachable)
