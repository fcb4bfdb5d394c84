"""A run's private certificate authority: who may speak to the server, and as which client."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509

from sglr.core.errors import SglrError, UsageError
from sglr.engines.remote.trust import certificates as made
from sglr.engines.remote.trust.certificate_request import requested_key
from sglr.engines.remote.trust.clock import now_utc, written
from sglr.engines.remote.trust.files import own_folder
from sglr.engines.remote.trust.own_key import authority_key, server_key
from sglr.engines.remote.trust.peers import Applicant, Client, Untrusted
from sglr.engines.remote.trust.register import REPLACED, REVOKED, Issued, Register
from sglr.engines.remote.trust.token import Token
from sglr.storage.files import is_file

_LONGEST = timedelta(days=366)


def lifetime_of(field: str, days: float) -> timedelta:
    """Return for how long tokens are valid.

    Raises
    ------
    UsageError
        If it is no time, or more than a year.
    """
    if not 0 < days <= _LONGEST.days:
        raise UsageError(field, days, "is no lifetime of a token", f"give days above 0, up to {_LONGEST.days}")
    return timedelta(days=days)


@dataclass(frozen=True)
class Enrolment:
    """A certificate that a client was given.

    Parameters
    ----------
    client, serial
        Whose it is and which.
    since, until
        When it was made and when it expires.
    ended
        ``"revoked"``, ``"replaced"`` by a later one, or nothing while it counts.
    """

    client: Client
    since: datetime
    until: datetime
    ended: str | None


class Authority:
    """The authority of one run, kept in a folder that only the server's operator can read.

    Several processes may open the same folder: what one of them issues or revokes, the others see at once.
    Use ``Authority.open``.
    """

    def __init__(self, folder: Path, now: Callable[[], datetime]) -> None:
        self._now, self._lock = now, threading.Lock()
        self._verified: dict[bytes, Client] = {}  # certificates that this authority signed: no more than tokens used
        self._key, self._root = authority_key(folder / "authority.pem", now())
        # Who starts over with a new authority begins with empty records.
        self._register = Register(folder / f"records-{self.fingerprint[:16]}")
        self.server_key, self.server_chain = server_key(folder / "server.pem", self._key, self._root, now())

    @classmethod
    def open(cls, folder: Path, now: Callable[[], datetime] = now_utc, *, create: bool = True) -> Authority:
        """Open an authority, or create it if the folder holds none; renew the server's certificate if it ends soon.

        Parameters
        ----------
        folder
            Where its keys and records are; closed to others (0700, keys 0600).
        now
            The clock.
        create
            Whether a missing authority is created; the operator's commands must find the server's.

        Raises
        ------
        UsageError
            If there is none and ``create`` is false, or the folder is another user's.
        SglrError
            If its files are damaged, are another user's, or can't be read or written.
        """
        if not create and not is_file(folder / "authority.pem"):
            raise UsageError("folder", folder, "no authority in it", "give the folder that the server was started with")
        try:
            own_folder(folder)
            return cls(folder, now)
        except OSError as error:
            raise SglrError(f"{error.filename or folder}: cannot be read or written ({error.strerror})") from error

    @property
    def certificate(self) -> bytes:
        """The authority's certificate as PEM, which is no secret."""
        return made.pem(self._root)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the authority's certificate (DER), 64 hexadecimal digits: what every token pins."""
        return made.fingerprint(self._root).hex()

    def issue_token(self, client: int, lifetime: timedelta) -> str:
        """Issue a token with which one applicant can become ``client``, once; it is stored nowhere.

        If that client has a certificate already, this one ends when the token is used, not before.

        Raises
        ------
        UsageError
            If the number or the lifetime makes no sense.
        """
        if client < 0:
            raise UsageError("client", client, "not a client's number", "give 0 or more")
        if not timedelta(0) < lifetime <= _LONGEST:
            raise UsageError("lifetime", lifetime, "not a valid lifetime of a token", "give more than 0, up to a year")
        token = Token.make(made.fingerprint(self._root), self._now() + lifetime)
        self._register.issue(token.id, Issued(client, token.expires, made.pem(made.token_root(token))))
        return token.text()

    def roots(self) -> bytes:
        """Return the certificates (PEM) that TLS takes clients from: this authority's, and the tokens' roots.

        Tokens that were used, revoked or have just expired are among them, so that their holders can be told.
        """
        now = self._now()
        live = (item.root for item in self._register.tokens.values() if now < item.expires + made.GRACE)
        return self.certificate + b"".join(live)

    def identify(self, certificate_pem: bytes) -> Client | Applicant:
        """Return who a certificate stands for; what it says about itself is not believed.

        Parameters
        ----------
        certificate_pem
            What the peer presented in a TLS handshake that it completed, so that it holds the key.

        Raises
        ------
        Untrusted
            If it is not of this run, has expired, is not valid yet, or was revoked or replaced.
        NotRead
            If the records can't be read.
        """
        verified = self._verified.get(certificate_pem)
        if verified is not None:  # each request of a prediction asks: a signature stays valid, the rest is checked anew
            self.check(verified)
            return verified
        try:
            certificate = x509.load_pem_x509_certificate(certificate_pem)
            token = made.common_name(certificate.issuer)
        except ValueError:
            raise Untrusted("the certificate can't be read") from None
        if made.issued_by(certificate, self._root):
            client = self._client(certificate)
            self.check(client)
            self._verified[certificate_pem] = client
            return client
        issued = self._register.issued(token)
        if issued is None or not made.issued_by(certificate, x509.load_pem_x509_certificate(issued.root)):
            raise Untrusted("the certificate was not issued by this run's authority")
        self._check_token(token, issued)
        return Applicant(token, issued.client)

    def check(self, client: Client) -> None:
        """Check that a client's certificate counts still; for connections that stay open.

        Raises
        ------
        OutOfDate
            If it has expired or does not count yet, by this machine's clock.
        Untrusted
            If it was revoked or replaced.
        NotRead
            If the records can't be read.
        """
        name = _name_of(client.serial)
        reason = self._register.ended.get(name)
        if reason is not None:
            raise Untrusted(f"the certificate of client {client.number} was {reason}; a new token is needed")
        certificate = self._register.certificate(name)
        if certificate is None:
            raise Untrusted(f"this run has no record of the certificate of client {client.number}")
        made.check_dates(certificate, f"the certificate of client {client.number}", "the server", self._now())

    def enrol(self, applicant: Applicant, request_pem: bytes) -> bytes:
        """Use up a token: sign the public key of a certificate request, and nothing else that it says.

        The use is on disk before this returns. If the answer was lost, asking again with the same key gives the same
        certificate. All other tokens and certificates of that client end.

        Parameters
        ----------
        applicant
            Who asks, from ``identify``.
        request_pem
            A PKCS #10 request for a P-256 key, signed with that key; at most 4096 bytes.

        Returns
        -------
        bytes
            The client's certificate, PEM.

        Raises
        ------
        Untrusted
            If the request is malformed, or the token has expired, was used with another key, or was revoked.
        """
        key = requested_key(request_pem)
        with self._lock:
            issued = self._register.issued(applicant.token)
            if issued is None:
                raise Untrusted("this run has no record of this join token; ask the operator for a new one")
            self._check_token(applicant.token, issued)
            if self._register.certificate(applicant.token) is None:
                self._use(applicant.token, issued, key)
            certificate = self._register.certificate(applicant.token)
        if certificate is None or certificate.public_key() != key:
            raise Untrusted("this join token was used already; ask the operator for a new one")
        return made.pem(certificate)

    def revoke(self, client: int) -> int:
        """End all certificates of a client, and all tokens issued for it.

        Returns
        -------
        int
            How many counted until now; 0 if there was nothing to revoke.

        Raises
        ------
        OSError
            If that can't be written: some of them may count still.
        NotRead
            If some tokens can't be read, of which nobody can tell for which client they are; the others have ended.
        """
        ended = self._end(client, REVOKED, kept="")
        self._register.require_all()
        return ended

    def enrolled(self) -> list[Enrolment]:
        """Return all certificates ever given to clients, by client and age."""
        tokens, ended = self._register.tokens, self._register.ended
        rows = [
            Enrolment(
                Client(tokens[name].client, certificate.serial_number),
                certificate.not_valid_before_utc,
                certificate.not_valid_after_utc,
                ended.get(name),
            )
            for name, certificate in self._register.used.items()
            if name in tokens
        ]
        return sorted(rows, key=lambda row: (row.client.number, row.since))

    def _use(self, token: str, issued: Issued, key: made.PublicKey) -> None:
        # Others end first: if this is cut off in between, the client asks again with this token.
        self._end(issued.client, REPLACED, kept=token)
        serial = int(token, 16)
        certificate = made.client_certificate(issued.client, serial, key, self._root, self._key, self._now())
        self._register.use(token, certificate)

    def _end(self, client: int, reason: str, kept: str) -> int:
        names = [name for name, item in self._register.tokens.items() if item.client == client and name != kept]
        ended, failed = 0, list[OSError]()
        for name in names:
            if name in self._register.ended:
                continue
            try:
                ended += self._register.end(name, reason, self._now())
            except OSError as error:  # the others end all the same
                failed.append(error)
        if failed:
            raise failed[0]
        return ended

    def _client(self, certificate: x509.Certificate) -> Client:
        name = _name_of(certificate.serial_number)
        issued = self._register.issued(name)
        if issued is None or self._register.certificate(name) != certificate:
            raise Untrusted("the certificate is not of a client of this run")
        return Client(issued.client, certificate.serial_number)

    def _check_token(self, name: str, issued: Issued) -> None:
        reason = self._register.ended.get(name)
        if reason is not None:
            raise Untrusted(f"this join token was {reason}; ask the operator for a new one")
        if self._now() >= issued.expires:
            raise Untrusted(
                f"this join token expired at {written(issued.expires)}, and the server's clock says "
                f"{written(self._now())}: ask the operator for a new one, unless that clock is wrong"
            )


def _name_of(serial: int) -> str:
    """Return the token that a certificate came of: its serial number is the token's id."""
    return f"{serial:020x}"
