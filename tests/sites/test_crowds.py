"""Many connections, slow ones, silent ones: what they cost a server is bounded, and the run goes on beside them."""

from __future__ import annotations

import asyncio
import resource
import select
import socket
import ssl
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import grpc
import pytest

from sglr.core.events import Event, StepDone
from sglr.core.task import Targets
from sglr.engines.remote.run_description import RunDescription
from sglr.engines.remote.server import admission, listen
from sglr.engines.remote.server.connections import ConnectionServer
from sglr.engines.remote.server.listen import ServedRun, most_connections
from sglr.engines.remote.server.metrics import Metrics
from sglr.engines.remote.server.outbox import MOST_WAITING
from sglr.engines.remote.trust.authority import Authority

from .attacker import Attacker, Gang, Line
from .federation import Federation
from .test_hostile import BASE, result, undisturbed

CROWD = 100


class Place:
    """A server alone, as `Attacker` needs it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = Authority.open(folder / "trust")
        description = RunDescription("run", {}, 2, (4,), Targets.of_classes(("a", "b")), (3,), "segment")
        run = ServedRun("127.0.0.1", 0, description, 1 << 20, (20, 20))
        self.connections = ConnectionServer(run, self.authority, Metrics(2))
        self.connections.open(dict)
        self.ports = self.connections.port, self.connections.port
        self.engine = self

    def attacker(self, act: object) -> Attacker:
        attacker = Attacker(1, act)  # type: ignore[arg-type]
        attacker.enrol(self, self.folder / "attacker")  # type: ignore[arg-type]
        return attacker


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    found = Place(tmp_path)
    yield found
    found.connections.close()


async def silence(line: Line) -> None:
    del line


async def hello(line: Line) -> None:
    await line.hello()


async def come_and_go(line: Line) -> None:
    await line.hello()
    await line.next()
    await line.send("leaving")


def test_a_stream_without_a_word_is_ended(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "HELLO_SECONDS", 0.3)
    attacker = place.attacker(silence)
    asyncio.run(attacker.attack())
    assert (attacker.code, attacker.details) == (grpc.StatusCode.DEADLINE_EXCEEDED, "no Hello came within 0.3 seconds")
    assert place.connections.states[1].rejected == 1


def test_who_connects_again_and_again_is_slowed_down(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "HELLO_SECONDS", 0.01)

    async def hammer() -> list[grpc.StatusCode]:
        codes = []
        async with attacker.identity.channel(attacker.address) as channel:
            for _ in range(admission.MOST_STREAMS + 5):
                call = channel.stream_stream("/sglr.Split/Train")()
                codes.append(await call.code())
        return codes

    attacker = place.attacker(silence)
    codes = asyncio.run(hammer())
    assert set(codes[: admission.MOST_STREAMS]) == {grpc.StatusCode.DEADLINE_EXCEEDED}
    assert set(codes[admission.MOST_STREAMS :]) == {grpc.StatusCode.RESOURCE_EXHAUSTED}


def test_a_client_that_does_not_read_keeps_no_messages_waiting(place: Place) -> None:
    connections = place.connections

    async def deaf(line: Line) -> None:
        await line.hello()
        await line.next()
        # It reads no further; meanwhile it is sent more than any line holds.
        await asyncio.to_thread(send_much)
        while connections.states[1].presence == "here":
            await asyncio.sleep(0.02)

    def send_much() -> None:
        for _ in range(5 * MOST_WAITING):
            connections.ask({1: bytes(1 << 19)}, connections.next_seq(), "forward", "smashed", moves=True)
            time.sleep(0.002)

    attacker = place.attacker(deaf)
    asyncio.run(attacker.attack())
    assert (connections.states[1].presence, connections.states[1].reason) == (
        "out",
        "it does not read its messages",
    )
    assert attacker.code == grpc.StatusCode.ABORTED
    assert connections._outboxes == {}


def test_a_second_stream_of_a_quarantined_client_is_not_let_in(place: Place) -> None:
    began, banned = threading.Event(), threading.Event()

    async def waits(line: Line) -> None:
        await line.call.wait_for_connection()
        began.set()
        await asyncio.to_thread(banned.wait, 10)
        await line.hello()

    attacker = place.attacker(waits)
    thread = threading.Thread(target=lambda: asyncio.run(attacker.attack()))
    thread.start()
    began.wait(10)
    time.sleep(0.2)
    place.connections.quarantine(1, "seen to")
    banned.set()
    thread.join(20)
    assert attacker.code == grpc.StatusCode.PERMISSION_DENIED
    assert not attacker.here.is_set()
    assert place.connections.states[1].presence == "out"


def test_a_full_disk_lets_nobody_back_in(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(client: int) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(place.authority, "revoke", full)

    async def wrong(line: Line) -> None:
        await line.send("done")

    attacker = place.attacker(wrong)
    asyncio.run(attacker.attack())
    attacker.act = hello
    asyncio.run(attacker.attack())
    assert attacker.code == grpc.StatusCode.PERMISSION_DENIED
    assert attacker.details.startswith("quarantined: ")


def dripped(address: tuple[str, int], attacker: Attacker | None = None) -> float:
    """Send a handshake byte by byte, or, as ``attacker``, what follows it; return after how many seconds it ends."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    with socket.create_connection(address, 10) as plain:
        if attacker is None:
            sent = ssl.MemoryBIO()
            with suppress(ssl.SSLWantReadError):
                context.wrap_bio(ssl.MemoryBIO(), sent).do_handshake()
            return until_closed(plain, sent.read())
        with tempfile.NamedTemporaryFile() as file:
            file.write(attacker.identity.bundle())
            file.flush()
            context.load_cert_chain(file.name)
        with context.wrap_socket(plain) as secured:
            return until_closed(secured, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")


def until_closed(connection: socket.socket, content: bytes) -> float:
    """Send bytes one by one until the other side closes the connection, for 20 seconds at most."""
    began = time.monotonic()
    connection.settimeout(0.1)
    for place in range(200):
        try:
            if place < len(content) - 1:
                connection.sendall(content[place : place + 1])
            if connection.recv(1 << 16) == b"":
                break
        except TimeoutError:
            continue
        except OSError:
            break
    return time.monotonic() - began


def test_who_drips_byte_by_byte_is_ended_and_keeps_nobody_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "grpc.server_handshake_timeout_ms"
    monkeypatch.setattr(listen, "OPTIONS", tuple((one, 2_000 if one == name else had) for one, had in listen.OPTIONS))
    found = Place(tmp_path)
    try:
        address = "127.0.0.1", found.connections.port
        attacker = found.attacker(come_and_go)
        seconds: dict[str, float] = {}

        def drip(name: str, who: Attacker | None) -> None:
            seconds[name] = dripped(address, who)

        threads = [threading.Thread(target=drip, args=one) for one in (("handshake", None), ("after it", attacker))]
        for thread in threads:
            thread.start()
        time.sleep(0.3)
        asyncio.run(attacker.attack())
        assert attacker.here.is_set()
        for thread in threads:
            thread.join(30)
        assert all(1.5 < took < 10 for took in seconds.values()), seconds
    finally:
        found.connections.close()


def test_connections_leave_files_for_checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert most_connections() <= resource.getrlimit(resource.RLIMIT_NOFILE)[0] / 2
    monkeypatch.setattr(listen, "most_connections", lambda: 20)
    place = Place(tmp_path)
    with ExitStack() as crowd:
        crowd.callback(place.connections.close)
        sockets = [
            crowd.enter_context(socket.create_connection(("127.0.0.1", place.connections.port))) for _ in range(100)
        ]
        ready = set(select.select(sockets, [], [], 0)[0])
        until = time.monotonic() + 10
        while len(ready) < 80 and time.monotonic() < until:
            ready |= set(select.select(sockets, [], [], 0.1)[0])
        assert len(ready) == 80


def test_crowds_that_say_nothing_change_nothing(tmp_path: Path) -> None:
    told = {**BASE, "clients": 3}
    federation = Federation(tmp_path, told, groups=[(0, 1)])
    gang = Gang(federation, [hello_and_trickle])
    refused = []
    with ExitStack() as crowd:

        def observe(event: Event) -> None:
            if not isinstance(event, StepDone) or (event.epoch, event.step) != (0, 1):
                return
            address = "127.0.0.1", federation.ports[0]
            for number in range(CROWD):
                one = crowd.enter_context(socket.create_connection(address))
                if number % 2:
                    one.sendall(b"\x16\x03\x01")  # the beginning of a handshake
            refused.extend(handshakes_without_certificate(address, CROWD))
            gang.begin()

        found = result(federation, federation.train(observe=observe))
    gang.end()
    assert found == undisturbed(told)
    assert all(refused)


async def hello_and_trickle(line: Line) -> None:
    """Send what is no frame of the protocol's, then nothing."""
    await line.raw(b"S")


def handshakes_without_certificate(address: tuple[str, int], number: int) -> list[bool]:
    """Begin so many TLS connections as nobody; return for each whether the server closed it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    closed = []
    for _ in range(number):
        with socket.create_connection(address, 10) as plain:
            try:
                with context.wrap_socket(plain) as secured:
                    closed.append(secured.recv(1) == b"")
            except (ssl.SSLError, ConnectionError):
                closed.append(True)
    return closed
