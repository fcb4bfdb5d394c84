"""Keys and records count only if nobody else could have put them there, and a revocation can't fail quietly."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509

from sglr.cli.main import main
from sglr.core.errors import NotRead, SglrError, UsageError
from sglr.engines.remote.server import admission
from sglr.engines.remote.server.client_state import AWAY, HERE, ClientState
from sglr.engines.remote.trust import files
from sglr.engines.remote.trust.authority import Authority
from sglr.engines.remote.trust.identity import Identity
from sglr.engines.remote.trust.peers import Untrusted
from sglr.runs.config import Experiment
from sglr.sites.join_commands import keep_address
from sglr.storage.files import write_text

from .test_authority import enrol

NOBODY = 65534
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="it acts as another user, for which it must be root")


@contextmanager
def acting_as(user: int) -> Iterator[None]:
    os.seteuid(user)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def run() -> Iterator[Path]:
    """The folder of a run of another user, which has been served to three clients."""
    folder = Path(tempfile.mkdtemp())
    os.chown(folder, NOBODY, NOBODY)
    with acting_as(NOBODY):
        write_text(folder / "config.toml", Experiment.from_flat({"clients": 3}).to_toml())
        Authority.open(folder / "trust")
        keep_address(folder, "127.0.0.1:7443")
    yield folder
    shutil.rmtree(folder)


def records(run: Path, kind: str) -> Path:
    (found,) = (run / "trust").glob(f"records-*/{kind}")
    return found


@root_only
def test_what_root_revokes_in_another_users_run_is_revoked(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with acting_as(NOBODY):
        server = Authority.open(run / "trust")
        certificate = enrol(server, 2)
    assert main(["revoke", str(run), "--client", "2"]) == 0
    assert "client 2 has no access any more (1 revoked)" in capsys.readouterr().out
    (record,) = records(run, "ended").iterdir()
    assert (record.stat().st_uid, os.geteuid()) == (NOBODY, 0)
    with acting_as(NOBODY), pytest.raises(Untrusted, match="was revoked"):
        server.identify(certificate)


@root_only
def test_a_line_that_root_makes_works(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["token", str(run), "--client", "1", "--token-only"]) == 0
    assert capsys.readouterr().out.startswith("sglr1-")
    with acting_as(NOBODY):
        assert [item.client for item in Authority.open(run / "trust")._register.tokens.values()] == [1]


@root_only
def test_the_name_of_a_record_is_enough_to_end_a_certificate(run: Path) -> None:
    """As an earlier version left it: root's file, which the server may not read."""
    with acting_as(NOBODY):
        server = Authority.open(run / "trust")
        certificate = enrol(server, 0)
        server.revoke(0)
    (record,) = records(run, "ended").iterdir()
    os.chown(record, 0, 0)
    with acting_as(NOBODY), pytest.raises(Untrusted, match="was revoked"):
        Authority.open(run / "trust").identify(certificate)


def test_an_end_that_is_a_folder_a_loop_or_rubbish_is_an_end(tmp_path: Path) -> None:
    server = Authority.open(tmp_path)
    found = [enrol(server, client) for client in range(3)]
    for client in range(3):
        server.revoke(client)
    folder, loop, rubbish = sorted((next(tmp_path.glob("records-*")) / "ended").iterdir())
    folder.unlink()
    folder.mkdir()
    loop.unlink()
    loop.symlink_to(loop)
    rubbish.write_bytes(b"\x00")
    for certificate in found:
        with pytest.raises(Untrusted, match="was revoked"):
            Authority.open(tmp_path).identify(certificate)


def test_a_record_that_cannot_be_read_lets_nobody_in_and_sends_nobody_away(tmp_path: Path) -> None:
    server = Authority.open(tmp_path)
    certificate = enrol(server, 0)
    records = next(tmp_path.glob("records-*"))
    for path in (next((records / "used").iterdir()), next((records / "tokens").iterdir()), records / "ended"):
        aside = path.rename(records / "aside")
        path.symlink_to(path)
        again = Authority.open(tmp_path) if path.name != "ended" else server
        with pytest.raises(NotRead, match="Too many levels of symbolic links"):
            again.identify(certificate)
        path.unlink()
        aside.rename(path)
        assert again.identify(certificate)


def test_while_it_cannot_be_seen_who_was_revoked_nobody_stays_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "UNSEEN_SECONDS", 0.5)
    authority = Authority.open(tmp_path)
    states = [ClientState(0, presence=HERE), ClientState(1)]
    states[0].serial = x509.load_pem_x509_certificate(enrol(authority, 0)).serial_number
    ended = next(tmp_path.glob("records-*")) / "ended"
    ended.rmdir()
    ended.symlink_to(ended)
    dropped: list[tuple[int, str, str]] = []

    async def watch() -> None:
        watching = asyncio.create_task(
            admission.Admission(None, authority, None, states, None).watch_certificates(
                lambda *told: dropped.append(told)
            )
        )
        while not dropped:
            await asyncio.sleep(0.05)
            assert not watching.done()
        watching.cancel()

    asyncio.run(watch())
    # They come back once it can be seen again: a run that waits for everyone waits for them.
    assert dropped == [(0, "the server can't read its records", AWAY)]


def test_revoking_says_so_if_some_token_cannot_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_text(tmp_path / "config.toml", Experiment.from_flat({"clients": 3}).to_toml())
    server = Authority.open(tmp_path / "trust")
    for _ in range(2):
        server.issue_token(1, timedelta(days=1))
    path, other = sorted(records(tmp_path, "tokens").iterdir())
    path.unlink()
    path.symlink_to(path)
    assert main(["revoke", str(tmp_path), "--client", "1"]) == 1
    assert "client 1 may still join with a token whose record can't be read" in capsys.readouterr().err
    assert [item.stem for item in records(tmp_path, "ended").iterdir()] == [other.stem]


def test_revoking_says_so_if_it_cannot_be_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_text(tmp_path / "config.toml", Experiment.from_flat({"clients": 3}).to_toml())
    Authority.open(tmp_path / "trust").issue_token(1, timedelta(days=1))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "create", full)
    assert main(["revoke", str(tmp_path), "--client", "1"]) == 1
    assert "nothing changed for client 1" in capsys.readouterr().err


@root_only
def test_a_planted_authority_is_not_taken_up(run: Path) -> None:
    with pytest.raises(UsageError, match=rf"belongs to another user \({NOBODY}; this process runs as 0\)"):
        Authority.open(run / "trust")
    os.chown(run / "trust", 0, 0)
    with pytest.raises(SglrError, match=r"authority\.pem belongs to another user"):
        Authority.open(run / "trust")
    link = run / "linked"
    link.symlink_to(Path(tempfile.mkdtemp()))
    os.chown(link, NOBODY, NOBODY, follow_symlinks=False)
    with pytest.raises(UsageError, match="belongs to another user"):
        Authority.open(link)


@root_only
def test_a_server_is_not_begun_with_a_planted_authority_and_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Authority.open(tmp_path / "run" / "trust")
    os.chown(tmp_path / "run" / "trust", NOBODY, NOBODY)
    before = sorted((tmp_path / "run").rglob("*"))
    assert main(["serve", "--clients=2", f"--out={tmp_path / 'run'}", "--listen=127.0.0.1:7443"]) == 2
    assert f"trust: belongs to another user ({NOBODY}; this process runs as 0)" in capsys.readouterr().err
    assert sorted((tmp_path / "run").rglob("*")) == before


@root_only
def test_planted_records_of_a_token_do_not_count(run: Path) -> None:
    with acting_as(NOBODY):
        server = Authority.open(run / "trust")
        certificate = enrol(server, 0)
    (used,) = records(run, "used").iterdir()
    os.chown(used, 1234, 1234)
    used.chmod(0o644)
    with acting_as(NOBODY), pytest.raises(Untrusted, match="not of a client of this run"):
        Authority.open(run / "trust").identify(certificate)


@pytest.mark.parametrize("plant", [lambda path, key: path.symlink_to(key), lambda path, _: os.mkfifo(path)])
def test_a_key_is_a_regular_file(plant, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.touch(0o644)
    (tmp_path / "trust").mkdir()
    plant(tmp_path / "trust" / "authority.pem", key)
    with pytest.raises(SglrError, match=r"authority\.pem"):
        Authority.open(tmp_path / "trust")
    assert key.stat().st_mode & 0o777 == 0o644


@root_only
def test_a_planted_identity_is_not_taken_up(tmp_path: Path) -> None:
    (tmp_path / "identity.pem").touch()
    os.chown(tmp_path / "identity.pem", NOBODY, NOBODY)
    with pytest.raises(SglrError, match=r"identity\.pem belongs to another user"):
        Identity.open(tmp_path)
