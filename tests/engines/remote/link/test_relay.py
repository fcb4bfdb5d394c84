"""Bytes through a relay's process: all of them, unchanged, in order, and no sooner than the link lets them."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from sglr.engines.remote.link.beside import relays
from sglr.engines.remote.link.link import Link


@contextmanager
def echo() -> Iterator[str]:
    """Serve connections one after another, sending back what comes; yield the address."""

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                while data := connection.recv(65536):
                    connection.sendall(data)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, daemon=True).start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)


def connect(address: str) -> socket.socket:
    host, _, port = address.partition(":")
    return socket.create_connection((host, int(port)), 30)


def received(connection: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size and (data := connection.recv(size - len(found))):
        found += data
    return found


def test_a_message_takes_the_round_trip_and_its_length_at_the_rate_both_ways():
    message = bytes(range(256)) * 400  # 102,400 bytes: 0.2048 s at 4 Mbit/s, each way
    links = {0: Link.parse("rtt=200ms,rate=4Mbit"), 7: Link.parse("rtt=60ms")}
    with echo() as address, relays(address, links) as through:
        assert through.keys() == {0, 7}
        with connect(through[0]) as connection:
            connection.sendall(b"?")
            assert received(connection, 1) == b"?", "the handshake is over"
            begun = time.monotonic()
            connection.sendall(message)
            first = received(connection, 1)
            whole = first + received(connection, len(message) - 1)
            # Both directions are used at once, a piece of 32 KiB after another.
            assert time.monotonic() - begun >= 0.2 + 0.2048
            assert whole == message
            connection.shutdown(socket.SHUT_WR)
            assert received(connection, 1) == b"", "the end comes, too"
        with connect(through[7]) as connection:
            trips = []
            for _ in range(4):
                begun = time.monotonic()
                connection.sendall(b"!")
                assert received(connection, 1) == b"!"
                trips.append(time.monotonic() - begun)
            assert trips[0] >= 0.12, "TCP's handshake takes a round trip of its own"
            assert min(trips) >= 0.06


def test_a_server_that_is_not_there_closes_the_connection():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
    link = {0: Link.parse("rtt=10ms")}
    with relays(address, link) as through, connect(through[0]) as connection, suppress(ConnectionResetError):
        assert connection.recv(1) == b""


def test_relays_end_with_the_block():
    with relays("127.0.0.1:9", {0: Link.parse("rtt=10ms")}) as through:
        connect(through[0]).close()
    with pytest.raises(ConnectionRefusedError):
        connect(through[0])


def test_without_links_nothing_is_started():
    with relays("127.0.0.1:9", {}) as through:
        assert through == {}
