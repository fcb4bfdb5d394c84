"""From a pasted token to a client that the server knows, over real sockets and TLS."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import grpc
import grpc.aio
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from sglr.core.errors import UsageError
from sglr.engines.remote.trust import certificates as made
from sglr.engines.remote.trust.authority import Authority
from sglr.engines.remote.trust.identity import Identity
from sglr.engines.remote.trust.peers import Client, Unreachable, Untrusted
from sglr.engines.remote.trust.service import SERVICE
from sglr.engines.remote.trust.token import Token

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
Clocks = Callable[[timedelta], Callable[[], datetime]]
Serve = Callable[..., object]
Who = Callable[[grpc.Channel], str]


def test_join_once_then_work_as_that_client(authority: Authority, serving: Serve, who: Who, tmp_path: Path) -> None:
    server = serving(authority)
    mine = Identity.enrol(server.address, authority.issue_token(3, HOUR), tmp_path / "mine")
    assert mine.client == 3
    assert mine.fingerprint == authority.fingerprint
    assert who(mine.sync_channel(server.address)) == "client 3"
    assert who(Identity.open(tmp_path / "mine").sync_channel(server.address)) == "client 3"

    async def ask() -> bytes:
        async with mine.channel(server.address, [("grpc.max_receive_message_length", 100)]) as channel:
            return await channel.unary_unary("/sglr.Split/Who")(b"", timeout=10)

    assert asyncio.run(ask()) == b"client 3"


def test_a_line_that_is_pasted_twice_joins_once(authority: Authority, serving: Serve, tmp_path: Path) -> None:
    """So the line may stay in a start script, and needs no server the second time."""
    server, text = serving(authority), authority.issue_token(3, HOUR)
    first = Identity.enrol(server.address, text, tmp_path / "mine")
    server.stop()
    # As after a crash at the very end: the certificate is there, the key on its own still too.
    left = tmp_path / "mine" / f"enrolling-{Token.parse(text).id}.key"
    left.write_bytes(first.key)
    assert Identity.enrol(server.address, text, tmp_path / "mine") == first
    assert not left.exists()
    assert len(authority.enrolled()) == 1


def test_the_folder_holds_one_private_file(authority: Authority, serving: Serve, tmp_path: Path) -> None:
    Identity.enrol(serving(authority).address, authority.issue_token(3, HOUR), tmp_path / "mine")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["identity.pem"]
    assert (tmp_path / "mine").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "mine/identity.pem").stat().st_mode & 0o777 == 0o600


def test_the_private_key_is_the_clients_alone(authority: Authority, serving: Serve, tmp_path: Path) -> None:
    mine = Identity.enrol(serving(authority).address, authority.issue_token(3, HOUR), tmp_path / "mine")
    secret = mine.key.splitlines()[1]
    assert secret not in b"".join(path.read_bytes() for path in (tmp_path / "server").rglob("*") if path.is_file())
    assert secret.decode() not in repr(mine)


def test_a_token_serves_one_machine(authority: Authority, serving: Serve, who: Who, tmp_path: Path) -> None:
    server, text = serving(authority), authority.issue_token(3, HOUR)
    first = Identity.enrol(server.address, text, tmp_path / "mine")
    with pytest.raises(Untrusted, match="was used already; ask the operator for a new one"):
        Identity.enrol(server.address, text, tmp_path / "theirs")
    assert not (tmp_path / "theirs/identity.pem").exists()
    assert who(first.sync_channel(server.address)) == "client 3"


def test_a_crash_between_key_and_certificate_is_made_good(
    authority: Authority, serving: Serve, who: Who, tmp_path: Path
) -> None:
    """The server has used up the token, but its answer never comes: the client goes on with the key that it kept."""

    async def lose(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        peer = authority.identify(context.auth_context()["x509_pem_cert"][0])
        authority.enrol(peer, request)
        await context.abort(grpc.StatusCode.INTERNAL, "cut off")

    losing = grpc.method_handlers_generic_handler(SERVICE, {"Enrol": grpc.unary_unary_rpc_method_handler(lose)})
    server, text = serving(authority, enrol=losing), authority.issue_token(3, HOUR)
    with pytest.raises(Unreachable, match="cut off"):
        Identity.enrol(server.address, text, tmp_path / "mine")
    (key,) = (tmp_path / "mine").iterdir()
    assert key.stat().st_mode & 0o777 == 0o600
    server.stop()
    server = serving(Authority.open(tmp_path / "server"))
    mine = Identity.enrol(server.address, text, tmp_path / "mine")
    assert who(mine.sync_channel(server.address)) == "client 3"
    assert [Client(3, mine.certificate.serial_number)] == [row.client for row in authority.enrolled()]
    assert not key.exists()


def test_enrolled_again_on_another_machine_the_first_is_refused(
    authority: Authority, serving: Serve, who: Who, tmp_path: Path
) -> None:
    server = serving(authority)
    first = Identity.enrol(server.address, authority.issue_token(3, HOUR), tmp_path / "old")
    second = Identity.enrol(server.address, authority.issue_token(3, HOUR), tmp_path / "new")
    assert who(second.sync_channel(server.address)) == "client 3"
    with pytest.raises(grpc.RpcError, match="client 3 was replaced"):
        who(first.sync_channel(server.address))


def test_enrolled_again_in_the_same_folder(authority: Authority, serving: Serve, who: Who, tmp_path: Path) -> None:
    server = serving(authority)
    Identity.enrol(server.address, authority.issue_token(3, HOUR), tmp_path / "mine")
    Identity.enrol(server.address, authority.issue_token(5, HOUR), tmp_path / "mine")
    assert who(Identity.open(tmp_path / "mine").sync_channel(server.address)) == "client 5"


def test_one_run_does_not_overwrite_anothers_identity(authority: Authority, serving: Serve, tmp_path: Path) -> None:
    other = Authority.open(tmp_path / "other")
    Identity.enrol(serving(authority).address, authority.issue_token(3, HOUR), tmp_path / "mine")
    with pytest.raises(UsageError, match="holds an identity for another run"):
        Identity.enrol(serving(other).address, other.issue_token(0, HOUR), tmp_path / "mine")
    assert Identity.open(tmp_path / "mine").client == 3


# Refused


def test_a_token_that_expired_by_our_clock_is_not_even_sent(tmp_path: Path, ago: Clocks) -> None:
    text = Authority.open(tmp_path / "server", ago(2 * HOUR)).issue_token(3, HOUR)
    with pytest.raises(Untrusted, match=r"expired at .* this machine's clock says"):
        Identity.enrol("127.0.0.1:1", text, tmp_path / "mine")
    assert not (tmp_path / "mine").exists()


def test_a_token_that_expired_by_the_servers_clock_only(serving: Serve, tmp_path: Path, ago: Clocks) -> None:
    """Our clock is two hours behind; the server says its own, so that the two can be compared."""
    text = Authority.open(tmp_path / "server", ago(2 * HOUR)).issue_token(3, HOUR)
    server = serving(Authority.open(tmp_path / "server"))
    with pytest.raises(Untrusted, match=r"this join token expired at .* and the server's clock says"):
        Identity.enrol(server.address, text, tmp_path / "mine", now=ago(2 * HOUR))


def test_a_token_long_expired_is_refused_by_tls(serving: Serve, tmp_path: Path, ago: Clocks) -> None:
    text = Authority.open(tmp_path / "server", ago(9 * DAY)).issue_token(3, HOUR)
    server = serving(Authority.open(tmp_path / "server"))
    with pytest.raises(Untrusted):
        Identity.enrol(server.address, text, tmp_path / "mine", now=ago(9 * DAY))


def test_a_revoked_token_is_refused(authority: Authority, serving: Serve, tmp_path: Path) -> None:
    server, text = serving(authority), authority.issue_token(3, HOUR)
    Authority.open(tmp_path / "server").revoke(3)
    with pytest.raises(Untrusted, match="this join token was revoked"):
        Identity.enrol(server.address, text, tmp_path / "mine")


def test_a_mistyped_token_is_refused_before_anything(authority: Authority, tmp_path: Path) -> None:
    text = authority.issue_token(3, HOUR)
    with pytest.raises(UsageError, match="mistyped"):
        Identity.enrol("127.0.0.1:1", text[:-1] + ("a" if text[-1] != "a" else "b"), tmp_path / "mine")


def test_a_server_with_another_authority_learns_nothing(authority: Authority, serving: Serve, tmp_path: Path) -> None:
    between = serving(Authority.open(tmp_path / "between"))
    with pytest.raises(Untrusted, match=r"is not the server that this token or identity is for.*nothing was sent"):
        Identity.enrol(between.address, authority.issue_token(3, HOUR), tmp_path / "mine")
    assert not (tmp_path / "mine").exists()


def test_a_server_that_shows_a_copy_of_the_right_authority_is_found_out(
    authority: Authority, serving: Serve, tmp_path: Path
) -> None:
    """The fingerprint fits, as certificates are public; but it can't prove that this authority vouches for it."""
    between = Authority.open(tmp_path / "between")
    asked: list[bytes] = []

    async def listen(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        asked.append(request)
        return b""

    leaf = made.pem(x509.load_pem_x509_certificate(between.server_chain))
    pairs = [(between.server_key, leaf + authority.certificate)]
    credentials = grpc.ssl_server_credentials(pairs, authority.roots(), require_client_auth=True)
    handler = grpc.method_handlers_generic_handler(SERVICE, {"Enrol": grpc.unary_unary_rpc_method_handler(listen)})
    server = serving(between, credentials=credentials, enrol=handler)
    with pytest.raises(Untrusted, match="can't prove that it is the expected server"):
        Identity.enrol(server.address, authority.issue_token(3, HOUR), tmp_path / "mine")
    assert asked == []


def test_a_server_that_answers_with_another_certificate_is_not_believed(
    authority: Authority, serving: Serve, tmp_path: Path
) -> None:
    async def mislead(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        return answers.pop()

    anothers = made.pem(by_hand(authority, 3).certificate)
    answers = [b"", b"-----BEGIN CERTIFICATE-----", authority.server_chain, authority.certificate, anothers]
    handler = grpc.method_handlers_generic_handler(SERVICE, {"Enrol": grpc.unary_unary_rpc_method_handler(mislead)})
    server, text = serving(authority, enrol=handler), authority.issue_token(3, HOUR)
    while answers:
        with pytest.raises(Untrusted, match="the server's answer is no"):
            Identity.enrol(server.address, text, tmp_path / "mine")
    assert not (tmp_path / "mine/identity.pem").exists()


def test_without_a_server(authority: Authority, tmp_path: Path) -> None:
    with pytest.raises(Unreachable):
        Identity.enrol("127.0.0.1:1", authority.issue_token(3, HOUR), tmp_path / "mine")


# ServedRun


def test_a_folder_without_an_identity_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="join with a token first"):
        Identity.open(tmp_path)


@pytest.mark.parametrize("damage", [b"", b"-----BEGIN", b"\xff" * 500])
def test_a_damaged_identity_is_named(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "identity.pem").write_bytes(damage)
    with pytest.raises(UsageError, match=r"identity\.pem: damaged"):
        Identity.open(tmp_path)


# Why a connection fails


def by_hand(authority: Authority, number: int, root: Authority | None = None) -> Identity:
    """Make a client's identity without a server; ``root`` is whom it believes, if not the authority that made it."""
    token, key = Token.parse(authority.issue_token(number, HOUR)), made.new_key()
    peer = authority.identify(made.pem(made.applicant_certificate(token, made.new_key().public_key())))
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    certificate = x509.load_pem_x509_certificate(authority.enrol(peer, request.public_bytes(Encoding.PEM)))
    believed = x509.load_pem_x509_certificate((root or authority).certificate)
    return Identity(number, certificate, believed, made.key_pem(key))


def test_an_expired_certificate_is_refused_and_its_dates_and_our_clock_are_told(
    serving: Serve, who: Who, tmp_path: Path, ago: Clocks
) -> None:
    mine = by_hand(Authority.open(tmp_path / "server", ago(370 * DAY)), 3)
    server = serving(Authority.open(tmp_path / "server"))
    with pytest.raises(grpc.RpcError) as failure:
        who(mine.sync_channel(server.address))
    assert failure.value.code() is grpc.StatusCode.UNAVAILABLE
    reason = mine.diagnose(server.address)
    assert isinstance(reason, Untrusted)
    assert "the certificate of this client has expired" in str(reason)
    assert "the clock of this machine says" in str(reason)
    assert server.calls == []


def test_another_runs_certificate_is_refused(authority: Authority, serving: Serve, who: Who, tmp_path: Path) -> None:
    stranger = by_hand(Authority.open(tmp_path / "other"), 3, root=authority)
    server = serving(authority)
    with pytest.raises(grpc.RpcError) as failure:
        who(stranger.sync_channel(server.address))
    assert failure.value.code() is grpc.StatusCode.UNAVAILABLE
    reason = stranger.diagnose(server.address)
    assert isinstance(reason, Untrusted)
    assert "closed the connection when it saw our certificate" in str(reason)
    assert "compare the server's clock" in str(reason)
    assert server.calls == []


def test_what_passes_by_itself_is_told_apart(authority: Authority, serving: Serve, tmp_path: Path, ago: Clocks) -> None:
    mine, server = by_hand(authority, 3), serving(authority)
    assert isinstance(mine.diagnose(server.address), Unreachable)
    clock = mine.diagnose(server.address, now=ago(5 * DAY))
    assert isinstance(clock, Untrusted)
    assert "the server's certificate is not valid yet" in str(clock)
    server.stop()
    assert isinstance(mine.diagnose(server.address), Unreachable)
    elsewhere = mine.diagnose(serving(Authority.open(tmp_path / "other")).address)
    assert isinstance(elsewhere, Untrusted)
    assert "another run's server, or someone is in between" in str(elsewhere)


def test_clients_of_one_run_look_for_its_server_once(
    authority: Authority, serving: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serving(authority)
    first = Identity.enrol(server.address, authority.issue_token(3, HOUR), tmp_path / "three")
    monkeypatch.setattr("sglr.engines.remote.trust.token_holder.pin", lambda *_: pytest.fail("it looked again"))
    second = Identity.enrol(server.address, authority.issue_token(4, HOUR), tmp_path / "four", known=first.authority)
    assert (second.client, second.authority) == (4, first.authority)


def test_a_token_of_another_run_is_not_taken_to_the_authority_that_is_known(
    authority: Authority, serving: Serve, tmp_path: Path
) -> None:
    server, other = serving(authority), Authority.open(tmp_path / "other")
    first = Identity.enrol(server.address, authority.issue_token(3, HOUR), tmp_path / "three")
    with pytest.raises(Untrusted, match="is not the server that this token"):
        Identity.enrol(server.address, other.issue_token(3, HOUR), tmp_path / "four", known=first.authority)


def test_a_known_authority_does_not_make_another_server_trusted(
    authority: Authority, serving: Serve, tmp_path: Path
) -> None:
    """The address may lead elsewhere by now: TLS believes only the known one, and nothing is enrolled."""
    first = Identity.enrol(serving(authority).address, authority.issue_token(3, HOUR), tmp_path / "three")
    between = serving(Authority.open(tmp_path / "between"))
    with pytest.raises(Untrusted):
        Identity.enrol(between.address, authority.issue_token(4, HOUR), tmp_path / "four", known=first.authority)
