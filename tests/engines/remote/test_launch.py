"""Clients that are started on this machine: nobody else on it learns their tokens."""

from __future__ import annotations

from pathlib import Path

from sglr.config import Experiment
from sglr.engines.remote.launch import Fleet
from sglr.engines.remote.trust.authority import Authority
from sglr.engines.remote.trust.token import Token


def test_tokens_stand_in_files_of_their_user_and_in_no_command_line(tmp_path: Path) -> None:
    authority = Authority.open(tmp_path / "trust")
    settings = Experiment.from_flat({"engine": "remote"}).model_dump(mode="json")
    fleet = Fleet(tmp_path / "clients", settings, 2)
    fleet.start(1, authority)
    try:
        lines = [Path(f"/proc/{process.pid}/cmdline").read_bytes() for process in fleet._processes]
        environments = [Path(f"/proc/{process.pid}/environ").read_bytes() for process in fleet._processes]
    finally:
        for process in fleet._processes:
            process.kill()
            process.wait()
    assert all(b"--token" in line for line in lines)
    assert not any(b"sglr1-" in text for text in (*lines, *environments))
    files = sorted((tmp_path / "clients").glob("process-*/*.token"))
    assert [path.stat().st_mode & 0o777 for path in files] == [0o600, 0o600]
    for path in files:
        Token.parse(path.read_text())
