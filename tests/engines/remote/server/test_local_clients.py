"""Clients that are started on this machine: nobody else on it learns their tokens."""

from __future__ import annotations

import time
from pathlib import Path

from sglr.engines.remote.server.local_clients import LocalClients
from sglr.engines.remote.trust.authority import Authority
from sglr.engines.remote.trust.token import Token
from sglr.runs.config import Experiment


def told(process: int, name: str) -> bytes:
    """Return what anyone may read of a process, once it is there."""
    path, until = Path(f"/proc/{process}/{name}"), time.monotonic() + 10
    while not (content := path.read_bytes()) and time.monotonic() < until:
        time.sleep(0.01)
    return content


def test_tokens_stand_in_files_of_their_user_and_in_no_command_line(tmp_path: Path) -> None:
    authority = Authority.open(tmp_path / "trust")
    experiment = Experiment.from_flat({"engine": "remote", "clients": 2})
    local_clients = LocalClients(tmp_path / "clients", experiment)
    local_clients.start(1, authority)
    try:
        lines = [told(command.pid, "cmdline") for command in local_clients._commands]
        environments = [told(command.pid, "environ") for command in local_clients._commands]
    finally:
        for command in local_clients._commands:
            command.kill()
            command.wait()
    assert all(b"--token" in line for line in lines)
    assert not any(b"sglr1-" in text for text in (*lines, *environments))
    files = sorted((tmp_path / "clients").glob("process-*/*.token"))
    assert [path.stat().st_mode & 0o777 for path in files] == [0o600, 0o600]
    for path in files:
        Token.parse(path.read_text())
