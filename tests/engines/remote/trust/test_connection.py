"""The right server is found by its authority's fingerprint, and failures are explained from this side."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from sglr.core.errors import UsageError
from sglr.engines.remote.trust import certificates as made
from sglr.engines.remote.trust.authority import Authority
from sglr.engines.remote.trust.clock import now_utc
from sglr.engines.remote.trust.connection import diagnose, parse_address, pin
from sglr.engines.remote.trust.peers import Unreachable, Untrusted

Clocks = Callable[[timedelta], Callable[[], datetime]]


@pytest.mark.parametrize(
    ("address", "parts"),
    [("a.example:7443", ("a.example", 7443)), ("10.0.0.1:1", ("10.0.0.1", 1)), ("[::1]:65535", ("::1", 65535))],
)
def test_addresses(address: str, parts: tuple[str, int]) -> None:
    assert parse_address(address) == parts


@pytest.mark.parametrize(
    "address", ["", "host", "host:", ":7443", "host:0", "host:65536", "::1:7443", "[::1:7443", "h:²"]
)
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(UsageError, match="address = "):
        parse_address(address)


def test_the_root_that_was_pinned_is_found(authority: Authority, serving: Callable[..., object]) -> None:
    root = pin(serving(authority).address, bytes.fromhex(authority.fingerprint), 5, now_utc)
    assert made.pem(root) == authority.certificate


def test_a_wrong_clock_here_is_named(authority: Authority, serving: Callable[..., object], ago: Clocks) -> None:
    server = serving(authority)
    for behind, state in ((timedelta(days=400), "is not valid yet"), (timedelta(days=-400), "has expired")):
        with pytest.raises(Untrusted, match=f"the server's certificate {state}.*the clock of this machine says"):
            pin(server.address, bytes.fromhex(authority.fingerprint), 5, ago(behind))


@pytest.fixture
def plain() -> Iterator[Callable[[bytes | None], str]]:
    """A port that is no TLS server: it answers with these bytes, or never."""
    listeners: list[socket.socket] = []
    held: list[socket.socket] = []

    def listen(answer: bytes | None) -> str:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)

        def serve() -> None:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            held.append(connection)
            if answer is not None:
                connection.recv(4096)
                connection.sendall(answer)
                connection.close()

        threading.Thread(target=serve, daemon=True).start()
        return f"127.0.0.1:{listener.getsockname()[1]}"

    yield listen
    for one in [*listeners, *held]:
        one.close()


def test_other_services_are_named_as_such(plain: Callable[[bytes | None], str]) -> None:
    with pytest.raises(Untrusted, match=r"does not speak TLS 1\.3 with this machine"):
        pin(plain(b"HTTP/1.1 400 Bad Request\r\n\r\n"), bytes(32), 5, now_utc)


def test_silence_and_closed_ports_are_worth_another_attempt(plain: Callable[[bytes | None], str]) -> None:
    with pytest.raises(Unreachable, match=r"no answer from .* within 0\.2 s"):
        pin(plain(None), bytes(32), 0.2, now_utc)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        closed = f"127.0.0.1:{listener.getsockname()[1]}"
    with pytest.raises(Unreachable, match="Connection refused"):
        pin(closed, bytes(32), 5, now_utc)
    with pytest.raises(Unreachable, match="no connection to"):
        pin("no-such-host.invalid:7443", bytes(32), 5, now_utc)
    with pytest.raises(Unreachable, match="closed the connection at once"):
        pin(plain(b""), bytes(32), 5, now_utc)


def test_a_server_that_is_just_stopping_is_not_taken_to_refuse_us(authority: Authority, tmp_path: Path) -> None:
    """It completes handshakes and closes, as a killed process does; later it is back and speaks."""
    (tmp_path / "bundle.pem").write_bytes(authority.server_key + authority.server_chain)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "bundle.pem")

    def serve() -> None:
        for word in (b"", b"", b"", b"settings"):
            with context.wrap_socket(listener.accept()[0], server_side=True) as connection:
                connection.sendall(word)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        address, root = f"127.0.0.1:{listener.getsockname()[1]}", authority.certificate
        reason = diagnose(
            address, x509.load_pem_x509_certificate(root), authority.server_key + authority.server_chain, 5, now_utc
        )
        thread.join(5)
    assert isinstance(reason, Unreachable)
    assert "lets us in" in str(reason)


def test_issuing_is_by_key_and_name(authority: Authority, tmp_path: Path) -> None:
    root = x509.load_pem_x509_certificate(authority.certificate)
    other = x509.load_pem_x509_certificate(Authority.open(tmp_path / "other").certificate)
    server = x509.load_pem_x509_certificate(authority.server_chain)
    assert made.issued_by(server, root)
    assert not made.issued_by(server, other)
    assert not made.issued_by(server, server)
