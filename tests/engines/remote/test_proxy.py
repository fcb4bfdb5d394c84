"""The network misbehaves as it is told, in front of a server that echoes."""

from __future__ import annotations

import os
import socket
import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from benchmarks.chaos.proxy import HOST, Proxy

MEGABYTE = os.urandom(1 << 20)


class Echo(socketserver.BaseRequestHandler):
    """Send back what comes, and note how much came and how it ended."""

    def handle(self) -> None:
        assert isinstance(self.server, EchoServer)
        try:
            while data := self.request.recv(65536):
                self.server.received += len(data)
                self.request.sendall(data)
            self.server.ends.append("closed")
        except ConnectionError:
            self.server.ends.append("reset")


class EchoServer(socketserver.ThreadingTCPServer):
    """An echo on a loopback port."""

    daemon_threads = False

    def __init__(self) -> None:
        super().__init__((HOST, 0), Echo)
        self.received = 0
        self.ends: list[str] = []

    def wait_for_ends(self, number: int) -> list[str]:
        """Return how the connections ended, once ``number`` of them did."""
        until = time.monotonic() + 10
        while len(self.ends) < number and time.monotonic() < until:
            time.sleep(0.005)
        return self.ends


@pytest.fixture
def server() -> Iterator[EchoServer]:
    with EchoServer() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def proxy(server: EchoServer) -> Iterator[Proxy]:
    with Proxy(server.server_address[1], seed=3) as proxy:
        yield proxy


def connect(proxy: Proxy) -> socket.socket:
    return socket.create_connection((HOST, proxy.port), timeout=10)


def receive(client: socket.socket, number: int) -> bytes:
    came = bytearray()
    while len(came) < number and (data := client.recv(65536)):
        came += data
    return bytes(came)


def echo(client: socket.socket, data: bytes) -> bytes:
    """Send ``data`` and return what comes back, both at once."""
    sending = threading.Thread(target=client.sendall, args=(data,))
    sending.start()
    came = receive(client, len(data))
    sending.join()
    return came


def seconds(client: socket.socket, data: bytes) -> float:
    before = time.monotonic()
    assert echo(client, data) == data
    return time.monotonic() - before


def gone(client: socket.socket) -> bool:
    """Whether the connection ends with a reset, and not with a normal close."""
    try:
        while client.recv(65536):
            pass
    except ConnectionResetError:
        return True
    return False


def test_bytes_go_through_unchanged_and_are_counted(proxy: Proxy) -> None:
    with connect(proxy) as first, connect(proxy) as second:
        assert echo(first, MEGABYTE) == MEGABYTE
        assert echo(second, b"hello") == b"hello"
        assert proxy.connections == [0, 1]
    assert proxy.forwarded == {"up": len(MEGABYTE) + 5, "down": len(MEGABYTE) + 5}


def test_an_end_of_sending_is_passed_on(proxy: Proxy, server: EchoServer) -> None:
    with connect(proxy) as client:
        client.sendall(b"last words")
        client.shutdown(socket.SHUT_WR)
        assert receive(client, 100) == b"last words"
    assert server.wait_for_ends(1) == ["closed"]


def test_latency_is_added_each_way_and_does_not_limit_bandwidth(proxy: Proxy) -> None:
    with connect(proxy) as client:
        proxy.delay(0.1)
        assert seconds(client, b"x") >= 0.2
        # In chunks of 16 KiB, one after the other, it would take 6 s each way.
        assert seconds(client, MEGABYTE) < 4
        proxy.delay(0, way="down")
        assert seconds(client, b"x") >= 0.1


def test_jitter_keeps_the_order(proxy: Proxy) -> None:
    with connect(proxy) as client:
        proxy.delay(0.0, jitter=0.02)
        assert echo(client, MEGABYTE[:300_000]) == MEGABYTE[:300_000]


def test_bandwidth_is_limited(proxy: Proxy) -> None:
    with connect(proxy) as client:
        proxy.throttle(200_000, way="up")
        assert seconds(client, MEGABYTE[:100_000]) >= 0.5


def test_a_reset_is_one_on_both_sides(proxy: Proxy, server: EchoServer) -> None:
    with connect(proxy) as first, connect(proxy) as second:
        assert echo(first, b"a") + echo(second, b"b") == b"ab"
        proxy.reset(0)
        assert gone(first)
        assert server.wait_for_ends(1) == ["reset"]
        assert echo(second, b"still here") == b"still here"
        proxy.reset()
        assert gone(second)
        assert server.wait_for_ends(2) == ["reset", "reset"]
        assert proxy.connections == []


def test_hanging_up_is_no_reset(proxy: Proxy, server: EchoServer) -> None:
    with connect(proxy) as client:
        assert echo(client, b"a") == b"a"
        proxy.hang_up()
        assert not gone(client)
        assert server.wait_for_ends(1) == ["closed"]


def test_a_cut_comes_after_so_many_bytes(proxy: Proxy, server: EchoServer) -> None:
    with connect(proxy) as client:
        assert echo(client, b"before") == b"before"
        proxy.cut_after(1000, "up")
        with suppress(ConnectionError):
            client.sendall(MEGABYTE)
        assert gone(client)
        server.wait_for_ends(1)
        assert proxy.forwarded["up"] == 1006
        assert server.received <= 1006
    with connect(proxy) as client:
        assert echo(client, MEGABYTE) == MEGABYTE


def test_a_cut_downward_leaves_the_client_with_half_an_answer(proxy: Proxy) -> None:
    with connect(proxy) as client:
        proxy.cut_after(10, "down")
        client.sendall(b"x" * 100)
        with pytest.raises(ConnectionResetError):
            assert len(receive(client, 100)) < 100
            client.recv(1)


def test_half_open_is_silence_and_nothing_is_lost(proxy: Proxy) -> None:
    with connect(proxy) as client:
        assert echo(client, b"before") == b"before"
        proxy.half_open()
        client.sendall(b"into silence")
        with connect(proxy) as newcomer:
            newcomer.sendall(b"me too")
            for waiting in (client, newcomer):
                waiting.settimeout(0.1)
                with pytest.raises(TimeoutError):
                    waiting.recv(1)
                waiting.settimeout(10)
            proxy.heal()
            assert receive(client, 12) == b"into silence"
            assert receive(newcomer, 6) == b"me too"


def test_new_connections_are_refused_until_healed(proxy: Proxy) -> None:
    with connect(proxy) as client:
        assert echo(client, b"a") == b"a"
        proxy.refuse()
        with pytest.raises(ConnectionRefusedError):
            connect(proxy)
        assert echo(client, b"b") == b"b"
        proxy.heal()
        with connect(proxy) as newcomer:
            assert echo(newcomer, b"c") == b"c"


def test_a_server_that_is_not_there_is_a_reset() -> None:
    with socket.socket() as nobody:
        nobody.bind((HOST, 0))
        # The reset may come so early that connecting itself tells of it.
        with Proxy(nobody.getsockname()[1]) as proxy, pytest.raises(ConnectionResetError), connect(proxy) as client:
            client.recv(1)


def test_healing_ends_latency_and_low_bandwidth_and_a_cut_to_come(proxy: Proxy) -> None:
    with connect(proxy) as client:
        proxy.delay(3, jitter=1)
        proxy.throttle(10)
        proxy.cut_after(5, "up")
        proxy.heal()
        assert seconds(client, MEGABYTE[:1000]) < 3


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts open files, which needs /proc")
def test_nothing_is_left_behind(server: EchoServer) -> None:
    threads, files = threading.active_count(), open_files()
    for leave_half_open in (False, True):
        proxy = Proxy(server.server_address[1])
        clients = [connect(proxy) for _ in range(5)]
        for client in clients:
            assert echo(client, b"x") == b"x"
        if leave_half_open:
            proxy.half_open()
            clients[0].sendall(MEGABYTE[:10_000])
            proxy.refuse()
        proxy.close()
        proxy.close()
        assert gone(clients[0])
        for client in clients:
            client.close()
    server.wait_for_ends(10)
    until = time.monotonic() + 10
    while time.monotonic() < until and threading.active_count() > threads:
        time.sleep(0.005)
    assert threading.active_count() == threads
    assert open_files() == files
