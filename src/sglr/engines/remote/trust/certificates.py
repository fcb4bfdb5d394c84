"""The five kinds of X.509 certificates of a run, all P-256 and SHA-256, and how they are checked.

========== ================ =============== ==============================================================
kind       issued by        lives           says
========== ================ =============== ==============================================================
authority  itself           10 years        this run
server     authority        1 year          the one server of this run
client     authority        1 year          client 3 of this run
token root itself           as the token    whoever this key vouches for may enrol as client 3
applicant  token root       as the token    nothing: who issued it is all that counts
========== ================ =============== ==============================================================
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from sglr.engines.remote.trust.clock import written
from sglr.engines.remote.trust.peers import OutOfDate
from sglr.engines.remote.trust.token import Token

SERVER_NAME = "server.sglr.internal"
AUTHORITY_LIFE, YEAR = timedelta(days=3650), timedelta(days=365)
# Clocks of two machines may differ; a certificate made now must count at once on a clock that is slow.
_SLACK = timedelta(days=1)
# An applicant whose token has just expired is let in for so long, only to be told so.
GRACE = timedelta(days=7)
_EVER = datetime(2020, 1, 1, tzinfo=UTC)

Key = ec.EllipticCurvePrivateKey
PublicKey = ec.EllipticCurvePublicKey


def new_key() -> Key:
    """Draw a private key on P-256."""
    return ec.generate_private_key(ec.SECP256R1())


def authority_certificate(key: Key, now: datetime) -> x509.Certificate:
    """Make a run's root: it signs its server and its clients, and no further authority."""
    name = _name(f"sglr authority {hashlib.sha256(public_bytes(key.public_key())).hexdigest()[:16]}")
    return _root(name, key, now - _SLACK, now + AUTHORITY_LIFE)


def token_root(token: Token) -> x509.Certificate:
    """Make the root that vouches for the holder of a token."""
    return _root(_name(token.id), token.key(), _EVER, token.expires + GRACE)


def applicant_certificate(token: Token, key: PublicKey) -> x509.Certificate:
    """Make the certificate with which the holder of a token connects; its dates do not depend on a clock."""
    issuer, signer = _name(token.id), token.key()
    builder = _builder(_name("sglr applicant"), issuer, key, _EVER, token.expires + GRACE)
    return _leaf(builder, ExtendedKeyUsageOID.CLIENT_AUTH, signer)


def server_certificate(key: PublicKey, authority: x509.Certificate, signer: Key, now: datetime) -> x509.Certificate:
    """Make the server's certificate, under a name that only this authority vouches for."""
    builder = _builder(_name(SERVER_NAME), authority.subject, key, now - _SLACK, now + YEAR)
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(SERVER_NAME)]), critical=False)
    return _leaf(builder, ExtendedKeyUsageOID.SERVER_AUTH, signer)


def client_certificate(
    number: int, serial: int, key: PublicKey, authority: x509.Certificate, signer: Key, now: datetime
) -> x509.Certificate:
    """Make a client's certificate, ``sglr://client/3``."""
    until = min(now + YEAR, authority.not_valid_after_utc)
    builder = _builder(_name(f"sglr client {number}"), authority.subject, key, now - _SLACK, until, serial)
    place = x509.UniformResourceIdentifier(f"sglr://client/{number}")
    builder = builder.add_extension(x509.SubjectAlternativeName([place]), critical=False)
    return _leaf(builder, ExtendedKeyUsageOID.CLIENT_AUTH, signer)


def client_number(certificate: x509.Certificate) -> int:
    """Return which client a certificate is for.

    Raises
    ------
    ValueError
        If it is no client's.
    """
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        raise ValueError("a certificate without names") from None
    (place,) = names.get_values_for_type(x509.UniformResourceIdentifier)
    return int(place.removeprefix("sglr://client/"))


def issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Return whether the issuer's key signed the certificate under the issuer's name."""
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def check_dates(certificate: x509.Certificate, whose: str, clock_of: str, now: datetime) -> None:
    """Check that a certificate counts now; the message names its dates and the clock that it was held against.

    Parameters
    ----------
    certificate
        Any certificate.
    whose
        How the message begins, e.g. ``"the certificate of client 3"``.
    clock_of
        Whose clock says ``now``, e.g. ``"the server"``.
    now
        The time.

    Raises
    ------
    OutOfDate
        If it has expired or does not count yet.
    """
    since, until = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if since <= now <= until:
        return
    state = "has expired" if now > until else "is not valid yet"
    raise OutOfDate(
        f"{whose} {state}: it counts from {written(since)} to {written(until)}, and the clock of {clock_of} says "
        f"{written(now)}; if that clock is right, a new token is needed"
    )


def fingerprint(certificate: x509.Certificate) -> bytes:
    """Return the SHA-256 of a certificate's DER."""
    return hashlib.sha256(certificate.public_bytes(Encoding.DER)).digest()


def common_name(name: x509.Name) -> str:
    """Return the common name, or nothing."""
    values = [attribute.value for attribute in name.get_attributes_for_oid(NameOID.COMMON_NAME)]
    return str(values[0]) if values else ""


def pem(certificate: x509.Certificate) -> bytes:
    """Write a certificate as PEM."""
    return certificate.public_bytes(Encoding.PEM)


def key_pem(key: Key) -> bytes:
    """Write a private key as PEM, without a passphrase: it is for a file of mode 0600."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def public_bytes(key: PublicKey) -> bytes:
    """Write a public key as DER, so that two can be compared."""
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def read_bundle(content: bytes) -> tuple[Key, list[x509.Certificate]]:
    """Read a private key, and the certificates that follow it in the same file.

    Raises
    ------
    ValueError
        If the file is not what it should be: damaged, another kind of key, or not the certificate's.
    """
    key_part, mark, rest = content.partition(b"-----BEGIN CERTIFICATE-----")
    key, certificates = read_key(key_part), x509.load_pem_x509_certificates(mark + rest)
    if certificates[0].public_key() != key.public_key():
        raise ValueError("the key is not the certificate's")
    return key, certificates


def read_key(content: bytes) -> Key:
    """Read a private key from PEM.

    Raises
    ------
    ValueError
        If it is damaged or of another kind.
    """
    key = load_pem_private_key(content, None)
    if not isinstance(key, Key):
        raise ValueError("not a key on an elliptic curve")  # noqa: TRY004 - a file's content is wrong, not a type
    return key


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: PublicKey, since: datetime, until: datetime, serial: int | None = None
) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key)
    builder = builder.serial_number(serial or x509.random_serial_number())
    builder = builder.not_valid_before(since).not_valid_after(until)
    return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)


def _root(name: x509.Name, key: Key, since: datetime, until: datetime) -> x509.Certificate:
    builder = _builder(name, name, key.public_key(), since, until)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    return builder.add_extension(_usage(signs_certificates=True), critical=True).sign(key, hashes.SHA256())


def _leaf(builder: x509.CertificateBuilder, purpose: x509.ObjectIdentifier, signer: Key) -> x509.Certificate:
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
    builder = builder.add_extension(issuer, critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
    return builder.add_extension(_usage(signs_certificates=False), critical=True).sign(signer, hashes.SHA256())


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
