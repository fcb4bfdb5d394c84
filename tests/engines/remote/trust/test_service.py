"""One port for clients and applicants, and each only gets what is its own."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import NameOID

from sglr.engines.remote.trust import certificates as made
from sglr.engines.remote.trust.authority import Authority
from sglr.engines.remote.trust.connection import CHANNEL_OPTIONS
from sglr.engines.remote.trust.identity import ENROL, Identity
from sglr.engines.remote.trust.service import Attempts
from sglr.engines.remote.trust.token import Token

HOUR = timedelta(hours=1)
Serve = Callable[..., object]
Who = Callable[[grpc.Channel], str]


def channel_of(authority: Authority, address: str, key: made.Key | None, certificate: bytes | None) -> grpc.Channel:
    """Connect with any certificate, or none."""
    private = made.key_pem(key) if key else None
    credentials = grpc.ssl_channel_credentials(authority.certificate, private, certificate)
    return grpc.secure_channel(address, credentials, CHANNEL_OPTIONS)


def as_applicant(authority: Authority, address: str, text: str, name: str = "") -> grpc.Channel:
    """Connect with a token, under a name and place of one's own choice."""
    token, key = Token.parse(text), made.new_key()
    if not name:
        certificate = made.applicant_certificate(token, key.public_key())
        return channel_of(authority, address, key, made.pem(certificate))
    root = made.token_root(token)
    builder = x509.CertificateBuilder().issuer_name(root.subject).public_key(key.public_key()).serial_number(7)
    builder = builder.subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"sglr client {name}")]))
    builder = builder.not_valid_before(root.not_valid_before_utc).not_valid_after(root.not_valid_after_utc)
    place = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(f"sglr://client/{name}")])
    certificate = builder.add_extension(place, critical=False).sign(token.key(), hashes.SHA256())
    return channel_of(authority, address, key, made.pem(certificate))


def refusal(call: Callable[[], object]) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as failure:
        call()
    return failure.value.code(), failure.value.details()


def test_without_a_certificate_nobody_gets_in(authority: Authority, serving: Serve, who: Who) -> None:
    server = serving(authority)
    code, _ = refusal(lambda: who(channel_of(authority, server.address, None, None)))
    assert code is grpc.StatusCode.UNAVAILABLE
    assert server.calls == []


@pytest.mark.parametrize("name", ["", "3"])
def test_an_applicant_may_only_enrol_whatever_it_calls_itself(
    authority: Authority, serving: Serve, who: Who, tmp_path: Path, name: str
) -> None:
    server = serving(authority)
    Identity.enrol(server.address, authority.issue_token(3, HOUR), tmp_path / "three")
    channel = as_applicant(authority, server.address, authority.issue_token(1, HOUR), name)
    assert refusal(lambda: who(channel)) == (
        grpc.StatusCode.PERMISSION_DENIED,
        "a join token serves only to enrol and to ask what the run is",
    )
    assert server.calls == []


def test_a_token_of_another_run_opens_nothing(authority: Authority, serving: Serve, who: Who, tmp_path: Path) -> None:
    server, text = serving(authority), Authority.open(tmp_path / "other").issue_token(3, HOUR)
    code, _ = refusal(lambda: who(as_applicant(authority, server.address, text)))
    assert code is grpc.StatusCode.UNAVAILABLE


def test_tokens_and_revocations_of_another_process_count_at_once(
    authority: Authority, serving: Serve, who: Who, tmp_path: Path
) -> None:
    server, operator = serving(authority), Authority.open(tmp_path / "server", create=False)
    mine = Identity.enrol(server.address, operator.issue_token(3, HOUR), tmp_path / "mine")
    with mine.sync_channel(server.address) as channel:
        ask = channel.unary_unary("/sglr.Split/Who")
        assert ask(b"", timeout=10) == b"client 3"
        operator.revoke(3)
        # The connection is the same, and still the next call is refused.
        assert refusal(lambda: ask(b"", timeout=10)) == (
            grpc.StatusCode.UNAUTHENTICATED,
            "the certificate of client 3 was revoked; a new token is needed",
        )
    again = Identity.enrol(server.address, operator.issue_token(3, HOUR), tmp_path / "mine")
    assert who(again.sync_channel(server.address)) == "client 3"


def test_a_client_has_nothing_to_enrol_for(authority: Authority, serving: Serve, tmp_path: Path) -> None:
    server = serving(authority)
    mine = Identity.enrol(server.address, authority.issue_token(3, HOUR), tmp_path / "mine")
    with mine.sync_channel(server.address) as channel:
        code, reason = refusal(lambda: channel.unary_unary(ENROL)(b"", timeout=10))
    assert (code, reason) == (grpc.StatusCode.PERMISSION_DENIED, "client 3 is enrolled already")


def test_attempts_with_a_token_are_limited_and_other_tokens_are_not(
    authority: Authority, serving: Serve, tmp_path: Path
) -> None:
    server, text = serving(authority), authority.issue_token(3, HOUR)
    with as_applicant(authority, server.address, text) as channel:
        enrol = channel.unary_unary(ENROL)
        codes = [refusal(lambda: enrol(b"rubbish", timeout=10))[0] for _ in range(12)]
    assert codes == [grpc.StatusCode.PERMISSION_DENIED] * 10 + [grpc.StatusCode.RESOURCE_EXHAUSTED] * 2
    assert Identity.enrol(server.address, authority.issue_token(4, HOUR), tmp_path / "four").client == 4


def test_attempts_are_counted_by_the_minute() -> None:
    seconds = [0.0]
    attempts = Attempts(now=lambda: seconds[0])
    assert [attempts.allow("a") for _ in range(11)] == [True] * 10 + [False]
    assert attempts.allow("b")
    seconds[0] = 59.0
    assert not attempts.allow("a")
    seconds[0] = 61.0
    assert attempts.allow("a")


def test_a_restarted_server_is_the_same_to_its_clients(
    authority: Authority, serving: Serve, who: Who, tmp_path: Path
) -> None:
    server = serving(authority)
    mine = Identity.enrol(server.address, authority.issue_token(3, HOUR), tmp_path / "mine")
    waiting = authority.issue_token(4, HOUR)
    server.stop()
    again = serving(Authority.open(tmp_path / "server"), port=server.port)
    assert who(mine.sync_channel(again.address)) == "client 3"
    assert Identity.enrol(again.address, waiting, tmp_path / "four").client == 4
