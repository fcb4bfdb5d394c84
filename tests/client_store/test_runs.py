"""Users' stories: runs with more clients than are held in memory."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import sglr
from sglr.core.errors import Interrupted, UsageError
from sglr.core.events import Event, StepDone

SETTINGS = {
    "clients": 30,
    "participation": 0.2,
    "partition": "resample",
    "draws": 24,
    "epochs": 5,
    "model": "mlp",
    "validation": 100,
    "threads": 1,
    "stacking": "stacked",  # left open, it is measured where all clients have rows
    "init": "independent",
}


def train(out: Path, store: str, **changes: object) -> sglr.Run:
    settings = {"method": "sglr", **SETTINGS, "client_store": store, **changes}
    return sglr.train(out=out, **settings)


@pytest.fixture(scope="module")
def both(once: Callable[[str, Callable[[Path], object]], Path]) -> tuple[sglr.Run, sglr.Run]:
    """Train the same on disk and in memory."""
    disk, memory = (
        once(f"store-{store}", lambda path, store=store: train(path, store)) for store in ("disk", "memory")
    )
    return sglr.Run.open(disk), sglr.Run.open(memory)


def test_where_clients_are_makes_no_difference_to_a_run(both) -> None:
    disk, memory = both
    assert disk.summary["client_store"] == "disk"
    for key in ("weights_sha256", "test", "validation", "communication"):
        assert disk.summary[key] == memory.summary[key], key
    assert disk.experiment.fingerprint() == memory.experiment.fingerprint()


def test_the_trained_network_of_any_client_comes_back(both) -> None:
    disk, memory = both
    assert disk.summary["test"]["epoch"] == memory.summary["test"]["epoch"]
    before = sorted((disk.path / "clients").iterdir())
    for client in (0, 7, 29):
        one, other = (sglr.load_model(run.path, client).state_dict() for run in both)
        assert all(torch.equal(one[name], other[name]) for name in one)
    assert sorted((disk.path / "clients").iterdir()) == before, "who reads a run changes nothing"


def test_rows_that_no_checkpoint_names_are_gone(both) -> None:
    disk, _ = both
    checkpoints = len(list((disk.path / "checkpoints").glob("step-*")))
    files = list((disk.path / "clients").iterdir())
    assert 1 <= len(files) <= SETTINGS["epochs"] + 1
    assert checkpoints == disk.experiment.keep_checkpoints


def test_the_user_is_told(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    train(tmp_path / "r", "disk", epochs=1)
    assert "kept on disk (client_store): 6 of 30 do in a round" in caplog.text


def stopped(out: Path, steps: int) -> sglr.Run:
    seen = [0]

    def observe(event: Event) -> None:
        seen[0] += isinstance(event, StepDone)

    with pytest.raises(Interrupted):
        train(out, "disk", checkpoint_every=2, observe=observe, stop=lambda: seen[0] >= steps)
    return sglr.Run.open(out)


@pytest.mark.parametrize(
    "damage", ["flipped", *(pytest.param(each, marks=pytest.mark.slow) for each in ("missing", "torn"))]
)
def test_damaged_rows_send_a_run_back_to_the_checkpoint_before(damage: str, both, tmp_path: Path) -> None:
    run = stopped(tmp_path / "r", 11)
    newest = max((run.path / "clients").iterdir())
    content = newest.read_bytes()
    if damage == "missing":
        newest.unlink()
    else:
        newest.write_bytes(content[:-1] if damage == "torn" else content[:-1] + bytes([content[-1] ^ 1]))
    said: list[str] = []
    again = sglr.resume(run.path, say=said.append)
    assert any(newest.name in line for line in said)
    assert again.summary["weights_sha256"] == both[0].summary["weights_sha256"]


def test_all_rows_gone_is_an_error_that_says_so(tmp_path: Path) -> None:
    run = stopped(tmp_path / "r", 11)
    for path in (run.path / "clients").iterdir():
        path.unlink()
    with pytest.raises(UsageError, match=r"all checkpoints are damaged .*clients' weights are missing"):
        sglr.resume(run.path)


@pytest.mark.slow
@pytest.mark.parametrize(("method", "times"), [("sglr", 2), ("ssl", 1)])
def test_killed_at_any_moment_and_resumed_the_weights_are_the_same(method: str, times: int, tmp_path: Path) -> None:
    settings = {"method": method, "checkpoint_every": 1, "epochs": 8}
    whole = train(tmp_path / "whole", "memory", **settings)
    out, rng = tmp_path / "killed", random.Random(method)
    told = {**SETTINGS, **settings, "client_store": "disk", "out": out}
    flags = [f"--{key.replace('_', '-')}={value}" for key, value in told.items()]
    command = [sys.executable, "-m", "sglr", "train", *flags, "--quiet"]
    kills = 0
    for _ in range(times):
        process = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"})
        kills += kill_while_it_writes(process, out, rng)
        command = [sys.executable, "-m", "sglr", "resume", str(out), "--quiet"]
    assert subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False).returncode == 0
    assert kills >= 1
    summary = json.loads((out / "summary.json").read_text())
    assert summary["weights_sha256"] == whole.summary["weights_sha256"]
    assert summary["test"] == whole.summary["test"]


def kill_while_it_writes(process: subprocess.Popen[bytes], out: Path, rng: random.Random) -> bool:
    """Kill with SIGKILL some milliseconds after another file of rows appeared; False if the run ended before."""
    seen = set((out / "clients").glob("*"))
    while process.poll() is None:
        if set((out / "clients").glob("*")) - seen:
            time.sleep(rng.uniform(0, 0.05))
            process.send_signal(signal.SIGKILL)
            process.wait()
            return True
        time.sleep(0.001)
    return False


@pytest.mark.slow
def test_twenty_thousand_clients_of_whom_a_hundred_take_part(tmp_path: Path) -> None:
    flags = "--method sglr --clients 20000 --participation 0.005 --partition resample --draws 16 --epochs 6 --quiet"
    script = (
        "import resource, sys; from sglr.cli.main import main\n"
        "try:\n    main()\nfinally:\n    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    command = [sys.executable, "-c", script, "train", *flags.split(), "--threads", "1", "--out", str(tmp_path / "r")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(done.stdout.split()[-1]) < 1_500_000, "kilobytes at most"
    run = sglr.Run.open(tmp_path / "r")
    assert run.summary["client_store"] == "disk"
    checkpoint = run.checkpoints[-1].stat().st_size
    assert checkpoint < 600 * 200 * 4, "it grows with those who took part"
