"""Someone who holds a join token and has not joined: may ask what the run is, and enrol."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

import grpc
from cryptography import x509

from sglr.core.errors import SglrError
from sglr.engines.remote.trust import certificates as made
from sglr.engines.remote.trust.clock import now_utc
from sglr.engines.remote.trust.connection import CHANNEL_OPTIONS, Options, diagnose, pin
from sglr.engines.remote.trust.token import Token


@dataclass(frozen=True)
class TokenHolder:
    """A token with a key for one connection.

    Parameters
    ----------
    token
        The join token.
    authority
        The run's authority, whose fingerprint the token has.
    key, certificate
        A private key, and the token's certificate for it, PEM.
    """

    token: Token
    authority: x509.Certificate
    key: bytes = field(repr=False)
    certificate: bytes

    @classmethod
    def of(
        cls,
        address: str,
        token: Token,
        timeout: float = 20.0,
        now: Callable[[], datetime] = now_utc,
        known: x509.Certificate | None = None,
    ) -> TokenHolder:
        """Find the token's server at ``address``; nothing is said to another one.

        Parameters
        ----------
        address
            ``HOST:PORT``.
        token
            The join token.
        timeout
            Seconds for each wait.
        now
            The clock.
        known
            An authority that was found there a moment ago, by another token: if it is this token's, too, no connection
            is needed to find it again, since TLS believes no other.

        Raises
        ------
        Untrusted
            If the token expired, or it is not its server.
        Unreachable
            If there is no answer.
        """
        token.check_date(now())
        if known is not None and hmac.compare_digest(made.fingerprint(known), token.fingerprint):
            return cls.at(known, token)
        return cls.at(pin(address, token.fingerprint, timeout, now), token)

    @classmethod
    def at(cls, authority: x509.Certificate, token: Token) -> TokenHolder:
        """Make a key for a server whose authority is known to be the token's."""
        key = made.new_key()
        certificate = made.pem(made.applicant_certificate(token, key.public_key()))
        return cls(token, authority, made.key_pem(key), certificate)

    def sync_channel(self, address: str, options: Options = ()) -> grpc.Channel:
        """Return a channel to the server at ``address`` for calls that block."""
        credentials = grpc.ssl_channel_credentials(made.pem(self.authority), self.key, self.certificate)
        return grpc.secure_channel(address, credentials, [*CHANNEL_OPTIONS, *options])

    def diagnose(self, address: str, timeout: float = 5.0, now: Callable[[], datetime] = now_utc) -> SglrError:
        """Return why a connection to ``address`` fails; see `Identity.diagnose`."""
        return diagnose(address, self.authority, self.key + self.certificate, timeout, now)
