"""The authority's and the server's own keys, each in one file with its certificate."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509

from sglr.core.errors import SglrError
from sglr.engines.remote.trust import certificates as made
from sglr.engines.remote.trust.files import read_private, write_once, write_private

_RENEW = timedelta(days=30)


def authority_key(path: Path, now: datetime) -> tuple[made.Key, x509.Certificate]:
    """Return the authority's key and certificate, which are made if the file is missing.

    Raises
    ------
    SglrError
        If the file is damaged.
    """

    def create() -> bytes:
        key = made.new_key()
        return made.key_pem(key) + made.pem(made.authority_certificate(key, now))

    return _own(path, create)


def server_key(path: Path, authority: made.Key, root: x509.Certificate, now: datetime) -> tuple[bytes, bytes]:
    """Return the server's key and certificate chain (PEM), made anew if the certificate ends soon or is another's.

    Parameters
    ----------
    path
        The file.
    authority, root
        The key that signs, and its certificate.
    now
        The time.

    Raises
    ------
    SglrError
        If the file is damaged.
    """

    def create() -> bytes:
        own = made.new_key()
        return made.key_pem(own) + made.pem(made.server_certificate(own.public_key(), root, authority, now))

    key, certificate = _own(path, create)
    lasts = certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc - _RENEW
    if not lasts or not made.issued_by(certificate, root):
        write_private(path, create())
        key, certificate = _own(path, create)
    return made.key_pem(key), made.pem(certificate) + made.pem(root)


def _own(path: Path, create: Callable[[], bytes]) -> tuple[made.Key, x509.Certificate]:
    """Read a key and its certificate from one file, which is created if missing."""
    if not path.exists():
        write_once(path, create())
    try:
        key, (certificate, *_) = made.read_bundle(read_private(path))
    except ValueError as error:
        raise SglrError(f"{path} is damaged ({error}): restore it from a backup, or start in a new folder") from None
    return key, certificate
