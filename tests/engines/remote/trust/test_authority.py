"""The authority believes keys and its own records, and nothing that anybody says."""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import given
from hypothesis import strategies as st

from sglr.core.errors import SglrError, UsageError
from sglr.engines.remote.trust import certificates as made
from sglr.engines.remote.trust.authority import Authority
from sglr.engines.remote.trust.peers import Applicant, Client, Untrusted
from sglr.engines.remote.trust.register import Register
from sglr.engines.remote.trust.token import Token

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
Clocks = Callable[[timedelta], Callable[[], datetime]]


def request_for(key: made.Key, name: str = "", place: str | None = None) -> bytes:
    builder = x509.CertificateSigningRequestBuilder().subject_name(named(name))
    if place:
        names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(place)])
        builder = builder.add_extension(names, critical=False)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


def named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)] if name else [])


def applicant(authority: Authority, text: str) -> Applicant:
    """Arrive with a token, as TLS would show it."""
    certificate = made.applicant_certificate(Token.parse(text), made.new_key().public_key())
    peer = authority.identify(made.pem(certificate))
    assert isinstance(peer, Applicant)
    return peer


def enrol(authority: Authority, number: int, key: made.Key | None = None) -> bytes:
    """Go all the way from a new token to a certificate."""
    text = authority.issue_token(number, HOUR)
    return authority.enrol(applicant(authority, text), request_for(key or made.new_key()))


def forged(issuer: x509.Name, signer: made.Key, number: int = 3, serial: int = 1) -> bytes:
    """A certificate that says it is client 3's."""
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(named(f"sglr client {number}")).issuer_name(issuer)
    builder = builder.public_key(made.new_key().public_key()).serial_number(serial)
    builder = builder.not_valid_before(now - DAY).not_valid_after(now + DAY)
    place = x509.UniformResourceIdentifier(f"sglr://client/{number}")
    builder = builder.add_extension(x509.SubjectAlternativeName([place]), critical=False)
    builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
    return made.pem(builder.sign(signer, hashes.SHA256()))


# The folder


def test_a_restarted_server_keeps_its_authority_and_its_clients(authority: Authority, tmp_path: Path) -> None:
    certificate = enrol(authority, 3)
    again = Authority.open(tmp_path / "server", create=False)
    assert again.fingerprint == authority.fingerprint
    assert again.certificate == authority.certificate
    assert (again.server_key, again.server_chain) == (authority.server_key, authority.server_chain)
    assert again.identify(certificate) == authority.identify(certificate)


def test_only_the_operator_can_read_the_folder(authority: Authority, tmp_path: Path) -> None:
    enrol(authority, 0)
    authority.revoke(0)
    modes = {path.is_dir(): set() for path in (tmp_path / "server").rglob("*")}
    for path in [tmp_path / "server", *(tmp_path / "server").rglob("*")]:
        modes[path.is_dir()].add(path.stat().st_mode & 0o777)
    assert modes == {True: {0o700}, False: {0o600}}


def test_what_the_server_keeps_of_a_token_lets_nobody_enrol(authority: Authority, tmp_path: Path) -> None:
    text = authority.issue_token(3, HOUR)
    token = Token.parse(text)
    private = token.key().private_numbers().private_value
    secrets = [
        token.secret,
        token.secret.hex().encode(),
        text.encode(),
        text[6:38].encode(),
        private.to_bytes(32, "big"),
    ]
    pems = made.key_pem(token.key()).splitlines()[1:-1]
    kept = b"".join(path.read_bytes() for path in (tmp_path / "server").rglob("*") if path.is_file())
    assert not [secret for secret in secrets + pems if secret in kept]


def test_the_operators_commands_do_not_make_a_second_authority(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="give the folder that the server was started with"):
        Authority.open(tmp_path / "typo", create=False)
    assert not (tmp_path / "typo").exists()


@pytest.mark.parametrize("damage", [b"", b"-----BEGIN", b"\xff" * 300])
def test_a_damaged_authority_is_named(authority: Authority, tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "server/authority.pem").write_bytes(damage)
    with pytest.raises(SglrError, match=r"authority\.pem is damaged"):
        Authority.open(tmp_path / "server")


def test_the_servers_certificate_is_renewed_before_it_ends(tmp_path: Path, ago: Clocks) -> None:
    first = Authority.open(tmp_path, ago(334 * DAY))
    kept = Authority.open(tmp_path, ago(1 * DAY))
    assert kept.server_chain == first.server_chain
    renewed = Authority.open(tmp_path, ago(-2 * DAY))
    assert renewed.server_chain != first.server_chain
    assert renewed.fingerprint == first.fingerprint


def test_starting_over_with_a_new_authority_trusts_nobody_of_old(authority: Authority, tmp_path: Path) -> None:
    certificate, text = enrol(authority, 3), authority.issue_token(4, HOUR)
    (tmp_path / "server/authority.pem").unlink()
    fresh = Authority.open(tmp_path / "server")
    assert fresh.fingerprint != authority.fingerprint
    server, root = x509.load_pem_x509_certificates(fresh.server_chain)
    assert made.issued_by(server, root)
    assert made.fingerprint(root).hex() == fresh.fingerprint
    with pytest.raises(Untrusted):
        fresh.identify(certificate)
    with pytest.raises(Untrusted):
        applicant(fresh, text)
    assert fresh.enrolled() == []
    assert fresh.roots() == fresh.certificate


def test_opened_by_many_at_once_there_is_one_authority(tmp_path: Path) -> None:
    start, found = threading.Barrier(6), []

    def open_it() -> None:
        start.wait()
        found.append(Authority.open(tmp_path))

    threads = [threading.Thread(target=open_it) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6
    assert len({authority.fingerprint for authority in found}) == 1
    assert len({authority.server_chain for authority in found}) == 1


# Enrolling


def test_a_token_makes_its_holder_the_client_that_it_is_for(authority: Authority) -> None:
    certificate = enrol(authority, 3)
    peer = authority.identify(certificate)
    assert isinstance(peer, Client)
    assert peer.number == 3 == made.client_number(x509.load_pem_x509_certificate(certificate))
    (row,) = authority.enrolled()
    assert (row.client, row.ended) == (peer, None)
    assert timedelta(days=364) < row.until - datetime.now(UTC) <= timedelta(days=365)


def test_names_in_a_request_are_ignored(authority: Authority) -> None:
    text = authority.issue_token(1, HOUR)
    request = request_for(made.new_key(), "sglr client 3", "sglr://client/3")
    certificate = authority.enrol(applicant(authority, text), request)
    assert authority.identify(certificate).number == 1
    written = x509.load_pem_x509_certificate(certificate)
    assert made.client_number(written) == 1
    assert written.subject.rfc4514_string() == "CN=sglr client 1"
    assert not written.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert list(written.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [
        ExtendedKeyUsageOID.CLIENT_AUTH
    ]


def test_a_lost_answer_is_given_again_and_another_key_is_refused(authority: Authority, tmp_path: Path) -> None:
    text, key = authority.issue_token(3, HOUR), made.new_key()
    first = authority.enrol(applicant(authority, text), request_for(key))
    restarted = Authority.open(tmp_path / "server")
    assert restarted.enrol(applicant(restarted, text), request_for(key)) == first
    with pytest.raises(Untrusted, match="was used already"):
        restarted.enrol(applicant(restarted, text), request_for(made.new_key()))
    assert len(restarted.enrolled()) == 1


def test_of_many_who_use_a_token_at_once_one_succeeds(tmp_path: Path) -> None:
    text = Authority.open(tmp_path).issue_token(0, HOUR)
    start, given = threading.Barrier(6), []

    def race() -> None:
        own = Authority.open(tmp_path)
        peer, request = applicant(own, text), request_for(made.new_key())
        start.wait()
        try:
            given.append(own.enrol(peer, request))
        except Untrusted:
            given.append(None)

    threads = [threading.Thread(target=race) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(given) == 6
    assert len([certificate for certificate in given if certificate]) == 1


def test_an_expired_token_is_refused_with_the_servers_clock(tmp_path: Path, ago: Clocks) -> None:
    text = Authority.open(tmp_path, ago(2 * HOUR)).issue_token(3, HOUR)
    with pytest.raises(Untrusted, match=r"expired at .* UTC, and the server's clock says .* UTC"):
        applicant(Authority.open(tmp_path), text)


def test_a_token_expires_between_the_handshake_and_the_request(tmp_path: Path, ago: Clocks) -> None:
    before, after = Authority.open(tmp_path, ago(2 * HOUR)), Authority.open(tmp_path)
    peer = applicant(before, before.issue_token(3, HOUR))
    with pytest.raises(Untrusted, match="expired"):
        after.enrol(peer, request_for(made.new_key()))


def test_tls_knows_tokens_until_a_week_after_they_end(tmp_path: Path, ago: Clocks) -> None:
    Authority.open(tmp_path, ago(8 * DAY)).issue_token(1, HOUR)
    Authority.open(tmp_path, ago(6 * DAY)).issue_token(2, HOUR)
    authority = Authority.open(tmp_path)
    assert authority.roots().count(b"BEGIN CERTIFICATE") == 2
    assert authority.roots().startswith(authority.certificate)


def broken_signature() -> bytes:
    request = x509.load_pem_x509_csr(request_for(made.new_key())).public_bytes(Encoding.DER)
    # The last bytes are the signature's.
    body = base64.encodebytes(request[:-1] + bytes([request[-1] ^ 1])).decode()
    return f"-----BEGIN CERTIFICATE REQUEST-----\n{body}-----END CERTIFICATE REQUEST-----\n".encode()


def rsa_request() -> bytes:
    key = rsa.generate_private_key(65537, 2048)
    builder = x509.CertificateSigningRequestBuilder().subject_name(named(""))
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: b"", "can't be read"),
        (lambda: b"\0" * 100, "can't be read"),
        (lambda: request_for(made.new_key()) + b"\n" * 4096, "larger than 4096 bytes"),
        (broken_signature, "not signed with its own key"),
        (rsa_request, "not for a P-256 key"),
        (lambda: request_for(ec.generate_private_key(ec.SECP384R1())), "not for a P-256 key"),
    ],
    ids=["empty", "zeros", "large", "signature", "rsa", "p384"],
)
def test_a_malformed_request_uses_up_nothing(authority: Authority, make: Callable[[], bytes], message: str) -> None:
    text = authority.issue_token(3, HOUR)
    with pytest.raises(Untrusted, match=message):
        authority.enrol(applicant(authority, text), make())
    assert authority.enrolled() == []
    authority.enrol(applicant(authority, text), request_for(made.new_key()))


@given(data=st.binary(max_size=300))
def test_whatever_bytes_arrive_they_are_refused_in_words(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    authority = Authority.open(tmp_path_factory.getbasetemp() / "any-bytes")
    peer = applicant(authority, authority.issue_token(0, HOUR))
    for refused in (lambda: authority.enrol(peer, data), lambda: authority.identify(data)):
        with pytest.raises(Untrusted):
            refused()


@pytest.mark.parametrize(("client", "lifetime"), [(-1, HOUR), (0, 0 * HOUR), (0, -HOUR), (0, 400 * DAY)])
def test_tokens_that_make_no_sense_are_not_issued(authority: Authority, client: int, lifetime: timedelta) -> None:
    with pytest.raises(UsageError):
        authority.issue_token(client, lifetime)


# Who is who


def test_a_certificate_that_an_applicant_signed_is_no_clients(authority: Authority) -> None:
    enrol(authority, 3)
    serial = authority.enrolled()[0].client.serial
    token = Token.parse(authority.issue_token(1, HOUR))
    peer = authority.identify(forged(named(token.id), token.key(), serial=serial))
    assert peer == Applicant(token.id, 1)
    name = x509.load_pem_x509_certificate(authority.certificate).subject
    with pytest.raises(Untrusted, match="not issued by this run's authority"):
        authority.identify(forged(name, token.key(), serial=serial))


def test_a_certificate_under_another_tokens_name_is_refused(authority: Authority) -> None:
    mine, theirs = (Token.parse(authority.issue_token(number, HOUR)) for number in (1, 3))
    with pytest.raises(Untrusted):
        authority.identify(forged(named(theirs.id), mine.key()))


def test_the_authoritys_signature_alone_makes_no_client(authority: Authority, tmp_path: Path) -> None:
    """The server's own certificate, and one that the records do not know, are no client's."""
    for certificate in (authority.server_chain, authority.certificate):
        with pytest.raises(Untrusted):
            authority.identify(certificate)
    certificate = enrol(authority, 3)
    peer = authority.identify(certificate)
    next((tmp_path / "server").glob("records-*/used/*")).unlink()
    with pytest.raises(Untrusted):
        authority.identify(certificate)
    with pytest.raises(Untrusted):
        authority.check(peer)


def test_a_certificate_that_is_not_the_recorded_one_is_refused(authority: Authority, tmp_path: Path) -> None:
    """As after a restored backup: signed by the authority, with the serial number of another."""
    enrol(authority, 3)
    serial = authority.enrolled()[0].client.serial
    signer, (root,) = made.read_bundle((tmp_path / "server/authority.pem").read_bytes())
    twin = made.client_certificate(3, serial, made.new_key().public_key(), root, signer, datetime.now(UTC))
    with pytest.raises(Untrusted, match="not of a client of this run"):
        authority.identify(made.pem(twin))


def test_another_runs_client_is_a_stranger(authority: Authority, tmp_path: Path) -> None:
    certificate = enrol(Authority.open(tmp_path / "other"), 3)
    with pytest.raises(Untrusted, match="not issued by this run's authority"):
        authority.identify(certificate)


@pytest.mark.parametrize(("behind", "state"), [(366, "has expired"), (-2, "is not valid yet")])
def test_dates_are_named_with_the_servers_clock(tmp_path: Path, ago: Clocks, behind: int, state: str) -> None:
    authority = Authority.open(tmp_path, ago(behind * DAY))
    certificate = enrol(authority, 3)
    peer = authority.identify(certificate)
    now = Authority.open(tmp_path)
    message = f"certificate of client 3 {state}: it counts from .* UTC to .* UTC, and the clock of the server says"
    for refused in (lambda: now.identify(certificate), lambda: now.check(peer)):
        with pytest.raises(Untrusted, match=message):
            refused()


# Ending


def test_a_revoked_client_is_refused_everywhere_at_once(authority: Authority, tmp_path: Path) -> None:
    three, four, text = enrol(authority, 3), enrol(authority, 4), authority.issue_token(3, HOUR)
    peer = authority.identify(three)
    assert Authority.open(tmp_path / "server").revoke(3) == 2
    for refused in (
        lambda: authority.identify(three),
        lambda: authority.check(peer),
        lambda: applicant(authority, text),
    ):
        with pytest.raises(Untrusted, match="was revoked"):
            refused()
    assert authority.identify(four).number == 4
    assert authority.revoke(3) == authority.revoke(17) == 0
    assert [(row.client.number, row.ended) for row in authority.enrolled()] == [(3, "revoked"), (4, None)]


def test_a_lost_answer_is_not_given_after_revocation(authority: Authority) -> None:
    text, key = authority.issue_token(3, HOUR), made.new_key()
    peer = applicant(authority, text)
    authority.enrol(peer, request_for(key))
    authority.revoke(3)
    with pytest.raises(Untrusted, match="was revoked"):
        authority.enrol(peer, request_for(key))


def test_enrolling_again_ends_the_earlier_certificate_and_tokens(authority: Authority) -> None:
    first, unused = enrol(authority, 3), authority.issue_token(3, HOUR)
    peer = authority.identify(first)
    second = enrol(authority, 3)
    for refused in (lambda: authority.identify(first), lambda: applicant(authority, unused)):
        with pytest.raises(Untrusted, match="was replaced"):
            refused()
    with pytest.raises(Untrusted, match="was replaced"):
        authority.check(peer)
    assert authority.identify(second).number == 3
    assert sorted(str(row.ended) for row in authority.enrolled()) == ["None", "replaced"]


def test_a_new_token_alone_ends_nothing(authority: Authority) -> None:
    first = enrol(authority, 3)
    authority.issue_token(3, HOUR)
    assert authority.identify(first).number == 3


def test_revoked_then_enrolled_again(authority: Authority) -> None:
    enrol(authority, 3)
    authority.revoke(3)
    assert authority.identify(enrol(authority, 3)).number == 3


def test_a_damaged_record_trusts_nobody(authority: Authority, tmp_path: Path) -> None:
    certificate, other = enrol(authority, 3), enrol(authority, 4)
    authority.revoke(3)
    (ended,) = (tmp_path / "server").glob("records-*/ended/*")
    ended.write_bytes(b"{")
    for record in (tmp_path / "server").glob("records-*/used/*"):
        if record.read_bytes() == other:
            record.write_bytes(b"-----BEGIN")
    for presented in (certificate, other):
        with pytest.raises(Untrusted):
            Authority.open(tmp_path / "server").identify(presented)


def test_records_come_back_as_they_were(authority: Authority, tmp_path: Path) -> None:
    token = Token.parse(authority.issue_token(3, HOUR))
    (records,) = (tmp_path / "server").glob("records-*")
    issued = Register(records).tokens[token.id]
    assert (issued.client, issued.expires, issued.root.count(b"BEGIN")) == (3, token.expires, 1)
    assert made.issued_by(
        made.applicant_certificate(token, made.new_key().public_key()), x509.load_pem_x509_certificate(issued.root)
    )
