"""Servers on loopback with real TLS, and clocks that are wrong on purpose."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import grpc.aio
import pytest

from sglr.engines.remote.trust.authority import Authority
from sglr.engines.remote.trust.service import enrolment, peer_of, server_credentials

HOUR = timedelta(hours=1)


class Serving:
    """A server in a thread of its own: it enrols, and says who is calling."""

    def __init__(
        self,
        authority: Authority,
        *,
        credentials: grpc.ServerCredentials | None = None,
        enrol: grpc.GenericRpcHandler | None = None,
        port: int = 0,
    ) -> None:
        self.calls: list[str] = []
        self._authority, self._port = authority, port
        self._credentials = credentials or server_credentials(authority)
        self._enrol = enrol or enrolment(authority)
        self._started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event, int]] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self._thread.start()
        self._loop, self._over, self.port = self._started.result(10)
        self.address = f"127.0.0.1:{self.port}"

    async def _run(self) -> None:
        server = grpc.aio.server()
        who = {"Who": grpc.unary_unary_rpc_method_handler(self._who)}
        server.add_generic_rpc_handlers((self._enrol, grpc.method_handlers_generic_handler("sglr.Split", who)))
        port = server.add_secure_port(f"127.0.0.1:{self._port}", self._credentials)
        await server.start()
        over = asyncio.Event()
        self._started.set_result((asyncio.get_running_loop(), over, port))
        await over.wait()
        await server.stop(None)

    async def _who(self, request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        client = await peer_of(context, self._authority)
        self.calls.append(f"client {client.number}")
        return self.calls[-1].encode()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(10)


@pytest.fixture
def serving() -> Iterator[Callable[..., Serving]]:
    """Start a server: ``serving(authority).address``."""
    running: list[Serving] = []

    def start(authority: Authority, **options: object) -> Serving:
        running.append(Serving(authority, **options))
        return running[-1]

    yield start
    for server in running:
        if server._thread.is_alive():
            server.stop()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """The authority of a new run, in ``tmp_path / "server"``."""
    return Authority.open(tmp_path / "server")


@pytest.fixture
def ago() -> Callable[[timedelta], Callable[[], datetime]]:
    """A clock that is behind: ``Authority.open(folder, ago(HOUR))``."""
    return lambda behind: lambda: datetime.now(UTC) - behind


def call_who(channel: grpc.Channel) -> str:
    """Ask the server who we are."""
    with channel:
        return channel.unary_unary("/sglr.Split/Who")(b"", timeout=10).decode()


@pytest.fixture
def who() -> Callable[[grpc.Channel], str]:
    """Ask the server who we are: ``who(identity.sync_channel(address))``."""
    return call_who
