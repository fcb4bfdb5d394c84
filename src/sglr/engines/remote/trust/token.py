"""A join token: one line of text that lets its holder enrol as one client, once, at one server.

The text is ``sglr1-`` and 96 letters and digits (base32) for 60 bytes: a secret (20), the SHA-256 of the authority's
certificate (32), the time of expiry in Unix seconds (4), and a CRC-32 of all before it (4). A CRC-32 notices every
change within 32 neighbouring bits, so no single mistyped character and no two swapped neighbours go unnoticed.
"""

from __future__ import annotations

import base64
import re
import secrets
import struct
import zlib
from dataclasses import dataclass, field
from datetime import UTC, datetime

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from sglr.core.errors import UsageError
from sglr.engines.remote.trust.clock import written
from sglr.engines.remote.trust.peers import Untrusted

_PREFIX = "sglr1-"
_FORM = struct.Struct(">20s32sI")
_CHECKSUM = struct.Struct(">I")
_LETTERS = 96
_ALPHABET = re.compile("[a-z2-7]*")
# The order of the group of P-256 (FIPS 186-5, SP 800-186).
_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


@dataclass(frozen=True)
class Token:
    """What a join token says; both sides derive the same id and the same key from it.

    Parameters
    ----------
    secret
        20 random bytes, known to the applicant alone once the token has been handed out.
    fingerprint
        SHA-256 of the authority's certificate (DER).
    expires
        When it ends, in whole seconds.
    """

    secret: bytes = field(repr=False)
    fingerprint: bytes
    expires: datetime

    @classmethod
    def make(cls, fingerprint: bytes, expires: datetime) -> Token:
        """Draw a new secret."""
        return cls(secrets.token_bytes(20), fingerprint, expires.replace(microsecond=0))

    @classmethod
    def parse(cls, text: str) -> Token:
        """Read a token as it was pasted.

        Raises
        ------
        UsageError
            If it is no token, is cut off or mistyped. The message does not repeat it: it is a secret.
        """
        text = text.strip()
        if not text.startswith(_PREFIX):
            raise _wrong(text, f"a join token begins with {_PREFIX}")
        letters = text.removeprefix(_PREFIX)
        if len(letters) != _LETTERS:
            raise _wrong(text, f"a join token has {len(_PREFIX) + _LETTERS} characters, this one has {len(text)}")
        if not _ALPHABET.fullmatch(letters):
            raise _wrong(text, "a character in it is none of a-z and 2-7")
        content = base64.b32decode(letters.upper())
        form, checksum = content[: _FORM.size], content[_FORM.size :]
        if _CHECKSUM.pack(zlib.crc32(_PREFIX.encode() + form)) != checksum:
            raise _wrong(text, "a character is mistyped: its checksum does not fit")
        secret, fingerprint, expires = _FORM.unpack(form)
        return cls(secret, fingerprint, datetime.fromtimestamp(expires, UTC))

    def text(self) -> str:
        """Return the line to hand to the applicant, 102 characters; who has it can enrol."""
        form = _FORM.pack(self.secret, self.fingerprint, int(self.expires.timestamp()))
        content = form + _CHECKSUM.pack(zlib.crc32(_PREFIX.encode() + form))
        return _PREFIX + base64.b32encode(content).decode().lower()

    @property
    def id(self) -> str:
        """The token's name, 20 hexadecimal digits; it says nothing about the secret."""
        return self._derive(b"sglr1 token id", 10).hex()

    def key(self) -> ec.EllipticCurvePrivateKey:
        """Derive the key that vouches for an applicant: the token root's (SP 800-56A, 5.6.1.2.1: extra random bits)."""
        number = int.from_bytes(self._derive(b"sglr1 token root", 48), "big")
        return ec.derive_private_key(number % (_ORDER - 1) + 1, ec.SECP256R1())

    def check_date(self, now: datetime) -> None:
        """Check the expiry by this machine's clock, before anything is sent.

        Raises
        ------
        Untrusted
            If it has expired.
        """
        if now >= self.expires:
            raise Untrusted(
                f"this join token expired at {written(self.expires)}, and this machine's clock says {written(now)}: "
                "ask the operator for a new one, unless the clock is wrong"
            )

    def _derive(self, purpose: bytes, length: int) -> bytes:
        return HKDF(hashes.SHA256(), length, salt=self.fingerprint, info=purpose).derive(self.secret)


def _wrong(text: str, problem: str) -> UsageError:
    return UsageError("token", f"{text[:8]}… ({len(text)} characters)", problem, "paste the whole line again")
