"""Two commands in one folder: the second ends at once and says who is there; who only reads is not kept out."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

import sglr
from sglr.cli.main import main
from sglr.core.errors import Interrupted
from sglr.storage.lock import LOCK, locked

SMALL = {"clients": 2, "samples_per_client": 20, "epochs": 1, "model": "mlp", "test_samples": 40}
FLAGS = [f"--{key.replace('_', '-')}={value}" for key, value in SMALL.items()]


def stopped(path: Path) -> Path:
    with pytest.raises(Interrupted):
        sglr.train(out=path, stop=lambda: True, **SMALL)
    return path


@pytest.mark.parametrize(
    "command",
    [
        ["resume", "{run}"],
        ["train", *FLAGS, "--out={new}"],
        ["serve", *FLAGS, "--out={run}", "--listen=127.0.0.1:7443"],
        ["serve", *FLAGS, "--out={new}", "--listen=127.0.0.1:7443"],
        ["compare", "--methods=psl", "--seeds=0", *FLAGS, "--out={new}"],
    ],
)
def test_the_second_command_ends_at_once(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, new = stopped(tmp_path / "run"), tmp_path / "new"
    new.mkdir()
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    with locked(run), locked(new):
        assert main([word.format(run=run, new=new) for word in command]) == 2
    assert f"process {os.getpid()} on" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    assert list(new.iterdir()) == []


def test_who_only_reads_is_not_kept_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = sglr.train(out=tmp_path / "run", **SMALL).path
    with locked(run):
        for command in (["show", "--json"], ["report"], ["leak", "--measures=none", "--json"], ["resume", "--json"]):
            assert main([command[0], str(run), *command[1:]]) == 0, command
        capsys.readouterr()
        assert main(["show", str(run), "--json"]) == 0
        assert json.loads(capsys.readouterr().out)
    assert not (run / LOCK).exists()
