"""A certificate request of an applicant: only its public key counts, and is signed."""

from __future__ import annotations

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec

from sglr.engines.remote.trust import certificates as made
from sglr.engines.remote.trust.peers import Untrusted

_LONGEST = 4096


def requested_key(request_pem: bytes) -> made.PublicKey:
    """Return the P-256 key that a PKCS #10 request is for, and signed with.

    Raises
    ------
    Untrusted
        If it is malformed, longer than 4096 bytes, or signed with another key.
    """
    if len(request_pem) > _LONGEST:
        raise Untrusted(f"the certificate request is larger than {_LONGEST} bytes")
    try:
        request = x509.load_pem_x509_csr(request_pem)
        key, valid = request.public_key(), request.is_signature_valid
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise Untrusted("the certificate request can't be read") from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise Untrusted("the certificate request is not for a P-256 key")
    if not valid:
        raise Untrusted("the certificate request is not signed with its own key")
    return key
