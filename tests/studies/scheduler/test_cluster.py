"""Trials as tasks of Ray: the runs come home, stopped ones go on, and a machine that dies costs nothing."""

from __future__ import annotations

import gc
import os
import signal
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from tempfile import gettempdir
from threading import Event, Thread

import pytest

from sglr.cli.main import main
from sglr.core.errors import Interrupted, UsageError
from sglr.experiment.train import execute
from sglr.runs.config import Experiment
from sglr.runs.folder import Run
from sglr.studies.scheduler.outcome import DIVERGED, Outcome
from sglr.studies.scheduler.run_all import run_all
from sglr.studies.scheduler.trial import Trial

TINY = {"method": "slr", "model": "mlp", "clients": 4, "samples_per_client": 16, "epochs": 2, "threads": 1}


def experiment(**settings) -> Experiment:
    return Experiment.from_flat({**TINY, **settings})


def train_all(wanted: list[Experiment], folder: Path, **how) -> dict[str, Outcome]:
    outcomes = run_all([Trial.of(experiment, folder) for experiment in wanted], **how)
    return {outcome.experiment.fingerprint(): outcome for outcome in outcomes}


def test_where_there_is_no_ray_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    (tmp_path / "g.toml").write_text("[grid]\nlr = [0.1]\n")
    assert main(["sweep", str(tmp_path / "g.toml"), "--ray-address", "auto", "--out", str(tmp_path / "s")]) == 2
    assert "sglr[ray]" in capsys.readouterr().err.splitlines()[-1]


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """Start Ray with two processors on this machine's loopback."""
    from sglr.system.ray_cluster import connect, disconnect

    # Ray leaves files and its processes' handles to the collector.
    with warnings.catch_warnings(action="ignore", category=ResourceWarning):
        connect()
    yield "auto"
    with warnings.catch_warnings(action="ignore", category=ResourceWarning):
        disconnect()
        gc.collect()


@pytest.mark.slow
def test_runs_come_home_as_they_are_here_and_what_diverges_is_told(cluster: str, tmp_path: Path) -> None:
    sound, wild = experiment(), experiment(optimizer="sgd", lr=1e30)
    outcomes = train_all([sound, wild], tmp_path / "cells", jobs=None, ray_address=cluster)
    here = execute(sound, tmp_path / "here")
    there = outcomes[sound.fingerprint()]
    assert there.run.path == tmp_path / "cells" / sound.fingerprint()
    assert there.run.summary["weights_sha256"] == here.summary["weights_sha256"]
    assert (there.run.path / "report.html").is_file()
    assert there.seconds > 0
    assert outcomes[wild.fingerprint()].problem is not None
    assert (tmp_path / "cells" / wild.fingerprint() / DIVERGED).is_file()
    before = (there.run.path / "summary.json").stat().st_mtime_ns
    train_all([sound, wild], tmp_path / "cells", jobs=None, ray_address=cluster)
    assert (there.run.path / "summary.json").stat().st_mtime_ns == before


@pytest.mark.slow
def test_stopped_tasks_bring_their_checkpoints_home_and_go_on(cluster: str, tmp_path: Path) -> None:
    long = experiment(epochs=200)
    there = f"sglr-trial-*/{long.fingerprint()}/checkpoints/step-*"  # the cluster's machine is this one
    with pytest.raises(Interrupted):
        train_all([long], tmp_path, ray_address=cluster, stop=lambda: any(Path(gettempdir()).glob(there)))
    run = Run.open(tmp_path / long.fingerprint())
    assert run.checkpoints
    assert 0 < (reached := len(run.history)) < 200
    outcomes = train_all([long], tmp_path, jobs=1, ray_address=cluster)
    done = outcomes[long.fingerprint()].run
    assert len(done.history) == 200 > reached
    assert done.summary["weights_sha256"] == execute(long, tmp_path / "here").summary["weights_sha256"]


@pytest.mark.slow
def test_a_task_whose_process_is_killed_is_begun_again(cluster: str, tmp_path: Path) -> None:
    long, killed = experiment(epochs=60), Event()
    Thread(target=kill_first, args=(killed,), daemon=True).start()
    outcomes = train_all([long], tmp_path, jobs=None, ray_address=cluster)
    assert killed.is_set()
    assert outcomes[long.fingerprint()].accuracy is not None


@pytest.mark.slow
@pytest.mark.parametrize(("settings", "field"), [({"threads": 999}, "threads"), ({"device": "cuda"}, "device")])
def test_what_no_machine_can_do_is_refused(cluster: str, tmp_path: Path, settings, field: str) -> None:
    with pytest.raises(UsageError, match=f"{field} = .*no machine of the cluster"):
        train_all([experiment(**settings)], tmp_path, ray_address=cluster)


@pytest.mark.slow
def test_what_goes_wrong_in_a_task_is_told_like_here(cluster: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="samples_per_client = 99999"):
        train_all([experiment(samples_per_client=99999)], tmp_path, ray_address=cluster)


def kill_first(killed: Event) -> None:
    """Kill the first process of this machine's Ray that trains a trial."""
    while not killed.is_set():
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and b"ray::train_away" in command(entry) and descends(int(entry.name)):
                os.kill(int(entry.name), signal.SIGKILL)
                killed.set()
                return
        time.sleep(0.05)


def descends(pid: int) -> bool:
    while pid > 1:
        if pid == os.getpid():
            return True
        pid = parent(pid)
    return False


def parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def command(process: Path) -> bytes:
    try:
        return (process / "cmdline").read_bytes()
    except OSError:
        return b""
