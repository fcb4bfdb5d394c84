"""A client's identity: the key that it made itself, and the certificate that the run's authority gave it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import grpc
import grpc.aio
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from sglr.core.errors import SglrError, UsageError
from sglr.engines.remote.trust import certificates as made
from sglr.engines.remote.trust.clock import now_utc
from sglr.engines.remote.trust.connection import CHANNEL_OPTIONS, Options, diagnose
from sglr.engines.remote.trust.files import private_folder, read_private, write_once, write_private
from sglr.engines.remote.trust.peers import Unreachable, Untrusted
from sglr.engines.remote.trust.token import Token
from sglr.engines.remote.trust.token_holder import TokenHolder
from sglr.engines.remote.wire.frames import shown

ENROL = "/sglr.Split/Enrol"
_FILE = "identity.pem"
_REFUSALS = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)


@dataclass(frozen=True)
class Identity:
    """Who this machine is in a run; ``Identity.enrol`` makes one, ``Identity.open`` finds it again.

    Parameters
    ----------
    client
        Which client of the run this is.
    certificate
        Its certificate.
    authority
        The run's authority, the only one that is believed.
    key
        The private key, PEM.
    """

    client: int
    certificate: x509.Certificate
    authority: x509.Certificate
    key: bytes = field(repr=False)

    @classmethod
    def open(cls, folder: Path) -> Identity:
        """Read the identity that was enrolled earlier.

        Raises
        ------
        UsageError
            If there is none in this folder, or it is damaged.
        """
        path = folder / _FILE
        if not path.is_file():
            raise UsageError("folder", folder, "no identity in it", "join with a token first")
        try:
            key, (certificate, authority) = made.read_bundle(read_private(path))
            client = made.client_number(certificate)
        except ValueError as error:
            raise UsageError("file", path, f"damaged ({error})", "delete it and join with a new token") from None
        return cls(client, certificate, authority, made.key_pem(key))

    @classmethod
    def enrol(
        cls,
        address: str,
        token_text: str,
        folder: Path,
        timeout: float = 20.0,
        now: Callable[[], datetime] = now_utc,
        known: x509.Certificate | None = None,
    ) -> Identity:
        """Become a client: make a key, have it signed by the server that the token pins, and keep both in ``folder``.

        Enrolling again with the same token in the same folder returns the same identity. After a crash or a lost
        answer it goes on with the key that it had made. An identity of the same run is replaced once the new one is
        there.

        Parameters
        ----------
        address
            ``HOST:PORT``.
        token_text
            The join token, as pasted.
        folder
            Where the identity is kept; closed to others.
        timeout
            Seconds for each wait.
        now
            The clock.
        known
            The authority of another client that was enrolled there a moment ago, as in `TokenHolder.of`.

        Raises
        ------
        UsageError
            If the token is mistyped, or the folder holds an identity for another run.
        Untrusted
            If it is not the token's server, or the server refuses: expired, used already, revoked.
        Unreachable
            If there is no answer; another attempt may succeed.
        """
        token = Token.parse(token_text)
        pending = folder / f"enrolling-{token.id}.key"
        earlier = cls.open(folder) if (folder / _FILE).exists() else None
        if earlier is not None and earlier.certificate.serial_number == int(token.id, 16):
            pending.unlink(missing_ok=True)
            return earlier
        if earlier is not None and made.fingerprint(earlier.authority) != token.fingerprint:
            raise UsageError("folder", folder, "holds an identity for another run", "choose a folder for each run")
        holder = TokenHolder.of(address, token, timeout, now, known)
        private_folder(folder)
        key = _pending_key(pending)
        identity = _received(_ask(address, holder, key, timeout, now), holder.authority, key)
        write_private(folder / _FILE, identity.bundle() + made.pem(holder.authority))
        pending.unlink()
        return identity

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the run's authority, as ``Authority.fingerprint``."""
        return made.fingerprint(self.authority).hex()

    def bundle(self) -> bytes:
        """Return key and certificate, PEM."""
        return self.key + made.pem(self.certificate)

    def credentials(self) -> grpc.ChannelCredentials:
        """Return what a channel to the server needs, besides ``CHANNEL_OPTIONS``."""
        return grpc.ssl_channel_credentials(made.pem(self.authority), self.key, made.pem(self.certificate))

    def channel(self, address: str, options: Options = ()) -> grpc.aio.Channel:
        """Return a channel to the server at ``address`` for asyncio; it connects when it is used."""
        return grpc.aio.secure_channel(address, self.credentials(), [*CHANNEL_OPTIONS, *options])

    def sync_channel(self, address: str, options: Options = ()) -> grpc.Channel:
        """Return a channel to the server at ``address`` for calls that block."""
        return grpc.secure_channel(address, self.credentials(), [*CHANNEL_OPTIONS, *options])

    def diagnose(self, address: str, timeout: float = 5.0, now: Callable[[], datetime] = now_utc) -> SglrError:
        """Return why a connection to ``address`` fails; this blocks for a few times ``timeout`` at most.

        Returns
        -------
        SglrError
            ``Unreachable`` if another attempt may succeed, ``Untrusted`` if not.
        """
        return diagnose(address, self.authority, self.bundle(), timeout, now)


def _pending_key(path: Path) -> made.Key:
    """Return the key of an enrolment that was cut off, or make one and keep it before anyone hears of it."""
    if not path.exists():
        write_once(path, made.key_pem(made.new_key()))
    try:
        return made.read_key(read_private(path))
    except ValueError as error:
        raise UsageError("file", path, f"damaged ({error})", "delete it and ask for a new token") from None


def _ask(address: str, holder: TokenHolder, key: made.Key, timeout: float, now: Callable[[], datetime]) -> bytes:
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    try:
        with holder.sync_channel(address) as channel:
            answer: bytes = channel.unary_unary(ENROL)(request.public_bytes(Encoding.PEM), timeout=timeout)
            return answer
    except grpc.RpcError as error:
        if error.code() in _REFUSALS:
            raise Untrusted(f"{address} refused: {shown(error.details() or '')}") from None
        if error.code() is grpc.StatusCode.UNAVAILABLE:
            raise holder.diagnose(address, timeout, now) from None
        told = f"{error.code().name}, {shown(error.details() or '')}"
        raise Unreachable(f"{address} did not enrol this client: {told}") from None


def _received(answer: bytes, authority: x509.Certificate, key: made.Key) -> Identity:
    try:
        certificate = x509.load_pem_x509_certificate(answer)
        client = made.client_number(certificate)
    except ValueError as error:
        raise Untrusted(f"the server's answer is not a client's certificate ({error})") from None
    if not made.issued_by(certificate, authority) or certificate.public_key() != key.public_key():
        raise Untrusted("the server's answer is not a certificate of its authority for this client's key")
    return Identity(client, certificate, authority, made.key_pem(key))
