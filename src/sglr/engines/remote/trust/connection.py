"""Find the right server before anything is said to it, and explain why a connection failed.

The server's authority is private to the run, so no list of roots helps. A client knows its fingerprint, looks at the
certificates that the server presents, and takes as its only root the one with that fingerprint. TLS then proves that
the server holds a key which this root vouches for. gRPC closes a connection that it refuses without saying why; what
can be known from this side is found out by looking again.
"""

from __future__ import annotations

import hmac
import socket
import ssl
import tempfile
import time
from _ssl import ENCODING_DER
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from cryptography import x509

from sglr.core.errors import SglrError, UsageError
from sglr.engines.remote.trust import certificates as made
from sglr.engines.remote.trust.clock import written
from sglr.engines.remote.trust.files import write_private
from sglr.engines.remote.trust.peers import Unreachable, Untrusted
from sglr.system.loopback import is_loopback

Options = Sequence[tuple[str, Any]]

CHANNEL_OPTIONS = (("grpc.ssl_target_name_override", made.SERVER_NAME),)

# A server that is just being stopped closes connections too: only one that stays is taken to refuse us.
_LOOKS = (0.0, 0.5, 1.0)


def parse_address(address: str) -> tuple[str, int]:
    """Split ``HOST:PORT`` or ``[IPV6]:PORT``.

    Raises
    ------
    UsageError
        If it is neither.
    """
    host, colon, port = address.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    plain = bare == host and ":" not in host
    if not colon or not bare or not (plain or host == f"[{bare}]") or not port.isascii() or not port.isdigit():
        raise UsageError(
            "address", address, "not HOST:PORT", "write e.g. server.example.org:7443 or [2001:db8::1]:7443"
        )
    if not 0 < int(port) < 65536:
        raise UsageError("address", address, "no such port", "give 1 to 65535")
    return bare, int(port)


def check_timeout(seconds: float) -> None:
    """Refuse a deadline that nobody can meet.

    Raises
    ------
    UsageError
        If it is not above zero, or never comes.
    """
    if not 0 < seconds < float("inf"):
        raise UsageError("timeout", seconds, "is no time to answer in", "give more than 0 seconds")


def loopback_address(field: str, address: str) -> tuple[str, int]:
    """Split ``HOST:PORT`` of this machine's loopback.

    Raises
    ------
    UsageError
        If it is none, or others could reach it.
    """
    host, port = parse_address(address)
    if not is_loopback(host):
        problem = "is served to this machine only, because whoever reaches it may read it"
        raise UsageError(field, address, problem, f"give 127.0.0.1:{port}, and let an agent here pass it on")
    return host, port


def pin(address: str, fingerprint: bytes, timeout: float, now: Callable[[], datetime]) -> x509.Certificate:
    """Return the authority's certificate if the server at ``address`` presents the one with this fingerprint.

    Nothing is sent but the beginning of a TLS 1.3 handshake.

    Parameters
    ----------
    address
        ``HOST:PORT``.
    fingerprint
        SHA-256 of the authority's certificate (DER), from the token or from the enrolment.
    timeout
        Seconds for each wait.
    now
        The clock.

    Raises
    ------
    Unreachable
        If nobody answers.
    Untrusted
        If another server answers, or its certificate does not count by this machine's clock.
    """
    chain = presented(address, timeout)
    root = next((one for one in chain if hmac.compare_digest(made.fingerprint(one), fingerprint)), None)
    if root is None:
        raise Untrusted(
            f"{address} is not the server that this token or identity is for: its authority is "
            f"{_shown(made.fingerprint(chain[-1]))}, expected {_shown(fingerprint)}. It is another run's server, or "
            "someone is in between, such as a firewall that inspects TLS; nothing was sent"
        )
    for certificate, whose in ((chain[0], "the server's certificate"), (root, "the certificate of its authority")):
        made.check_dates(certificate, whose, "this machine", now())
    return root


def diagnose(
    address: str, root: x509.Certificate, bundle: bytes, timeout: float, now: Callable[[], datetime]
) -> SglrError:
    """Return why a connection fails, as far as it can be seen from here.

    Parameters
    ----------
    address
        ``HOST:PORT``.
    root
        The pinned authority.
    bundle
        This side's private key and certificate, PEM.
    timeout
        Seconds for each wait.
    now
        The clock.

    Returns
    -------
    SglrError
        ``Unreachable`` if another attempt may succeed, ``Untrusted`` if not.
    """
    _, (certificate, *_) = made.read_bundle(bundle)
    try:
        for wait in _LOOKS:
            time.sleep(wait)
            pin(address, made.fingerprint(root), timeout, now)
            made.check_dates(certificate, "the certificate of this client", "this machine", now())
            if _is_let_in(address, root, bundle, timeout):
                return Unreachable(f"the connection to {address} failed, but the server is there and lets us in")
    except (Unreachable, Untrusted) as error:
        return error
    until = certificate.not_valid_after_utc
    return Untrusted(
        f"the server at {address} closed the connection when it saw our certificate. By its clock the certificate or "
        f"the token may have expired, or it was revoked: it counts from {written(certificate.not_valid_before_utc)} "
        f"to {written(until)}, and the clock of this machine says {written(now())}; compare the server's clock"
    )


def presented(address: str, timeout: float) -> list[x509.Certificate]:
    """Return the certificates that a server presents, its own first; they are not checked.

    Raises
    ------
    Unreachable
        If nobody answers.
    Untrusted
        If it does not speak TLS 1.3.
    """
    context = _context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with _connected(address, context, timeout) as connection:
        # Public on the socket from Python 3.13 on; before, only on the object within.
        if hasattr(connection, "get_unverified_chain"):
            return [x509.load_der_x509_certificate(one) for one in connection.get_unverified_chain()]
        chain = connection._sslobj.get_unverified_chain()  # type: ignore[attr-defined]
        return [x509.load_der_x509_certificate(one.public_bytes(ENCODING_DER)) for one in chain]


def _is_let_in(address: str, root: x509.Certificate, bundle: bytes, timeout: float) -> bool:
    """Return whether the server speaks after it has seen our certificate: HTTP/2 servers begin with their settings."""
    context = _context()
    context.load_verify_locations(cadata=made.pem(root).decode())
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "bundle.pem"
        write_private(file, bundle)
        context.load_cert_chain(file)
    with _connected(address, context, timeout) as connection:
        return connection.recv(1) != b""


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["h2"])
    return context


@contextmanager
def _connected(address: str, context: ssl.SSLContext, timeout: float) -> Iterator[ssl.SSLSocket]:
    try:
        with (
            socket.create_connection(parse_address(address), timeout) as connection,
            context.wrap_socket(connection, server_hostname=made.SERVER_NAME) as secured,
        ):
            yield secured
    except ssl.SSLCertVerificationError as error:
        raise Untrusted(f"{address} can't prove that it is the expected server: {error.verify_message}") from None
    except (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError):
        raise Unreachable(f"{address} closed the connection at once") from None
    except ssl.SSLError as error:
        reason = (error.reason or str(error)).lower().replace("_", " ")
        problem = f"{address} does not speak TLS 1.3 with this machine ({reason})"
        raise Untrusted(f"{problem}: is it the server's port?") from None
    except TimeoutError:
        raise Unreachable(f"no answer from {address} within {timeout:g} s: is a firewall in between?") from None
    except OSError as error:
        raise Unreachable(f"no connection to {address}: {error.strerror or error}") from None


def _shown(fingerprint: bytes) -> str:
    return f"{fingerprint.hex()[:16]}…"
