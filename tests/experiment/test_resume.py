"""Users' stories: a run that is killed, interrupted or damaged goes on as if nothing had happened (law 5)."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import sglr
from sglr.cli.main import main
from sglr.core.errors import Interrupted, NotRead, UsageError
from sglr.core.events import StepDone
from sglr.experiment.train import execute
from sglr.runs.config import Experiment

SETTINGS = {
    "clients": 5,
    "samples_per_client": 60,
    "epochs": 4,
    "checkpoint_every": 3,
    "threads": 1,
    "init": "independent",
}


def _flags(method: str, out: Path) -> list[str]:
    flags = [f"--{key.replace('_', '-')}={value}" for key, value in SETTINGS.items()]
    return [sys.executable, "-m", "sglr", "train", "--method", method, *flags, "--out", str(out), "--quiet"]


def _start(command: list[str], errors: Path) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with errors.open("ab") as file:
        return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=file)


def _kill_after_checkpoints(process: subprocess.Popen[bytes], run: Path, count: int) -> bool:
    """Kill with SIGKILL once ``count`` more checkpoints were written; False if the run ended before."""
    seen = set((run / "checkpoints").glob("step-*"))
    first = set(seen)
    while process.poll() is None:
        seen |= set((run / "checkpoints").glob("step-*"))
        if len(seen - first) >= count:
            process.send_signal(signal.SIGKILL)
            process.wait()
            return True
        time.sleep(0.002)
    return False


@pytest.mark.slow
@pytest.mark.parametrize(("method", "times"), [("sglr", 3), ("sfl", 1), ("ssl", 1), ("sflv1", 1), ("fl", 1)])
def test_killed_at_random_steps_and_resumed_a_run_ends_with_the_same_weights(
    method: str, times: int, tmp_path: Path
) -> None:
    """A process takes seconds to begin; law 5 stops every method at any step without any."""
    whole = execute(Experiment.from_flat({"method": method, **SETTINGS}), tmp_path / "whole")
    assert whole.summary is not None
    rng = random.Random(method)
    out = tmp_path / "killed"
    errors = tmp_path / "errors.txt"
    process = _start(_flags(method, out), errors)
    kills = 0
    for _ in range(times):
        kills += _kill_after_checkpoints(process, out, rng.randint(1, 4))
        process = _start([sys.executable, "-m", "sglr", "resume", str(out), "--quiet"], errors)
    assert process.wait() == 0, errors.read_text()
    assert kills >= 1
    summary = json.loads((out / "summary.json").read_text())
    for key in ("weights_sha256", "communication", "test", "validation"):
        assert summary[key] == whole.summary[key], key
    curves = [{k: v for k, v in row.items() if k != "seconds"} for row in whole.history]
    again = [{k: v for k, v in row.items() if k != "seconds"} for row in sglr.Run(out).history]
    assert again == curves


def _stop_after(steps: int) -> tuple[object, object]:
    seen = [0]

    def observe(event: object) -> None:
        seen[0] += isinstance(event, StepDone)

    return observe, lambda: seen[0] >= steps


@pytest.mark.parametrize("steps", [8, *(pytest.param(each, marks=pytest.mark.slow) for each in (1, 13))])
def test_stopped_by_the_user_and_resumed(steps: int, tmp_path: Path) -> None:
    settings = {"clients": 4, "samples_per_client": 60, "epochs": 2, "model": "mlp"}
    whole = sglr.train(out=tmp_path / "whole", **settings)
    observe, stop = _stop_after(steps)
    with pytest.raises(Interrupted, match=r"continue with: sglr resume .*stopped"):
        sglr.train(out=tmp_path / "stopped", observe=observe, stop=stop, **settings)
    run = sglr.resume(tmp_path / "stopped")
    assert run.summary["weights_sha256"] == whole.summary["weights_sha256"]
    assert run.summary["test"] == whole.summary["test"]
    assert len(run.history) == 2


def _stopped_run(path: Path, steps: int = 13) -> sglr.Run:
    observe, stop = _stop_after(steps)
    with pytest.raises(Interrupted):
        sglr.train(
            clients=4,
            samples_per_client=60,
            epochs=2,
            model="mlp",
            checkpoint_every=2,
            out=path,
            observe=observe,
            stop=stop,
        )
    return sglr.Run.open(path)


@pytest.mark.parametrize(
    "damage", ["flipped", *(pytest.param(each, marks=pytest.mark.slow) for each in ("torn", "empty"))]
)
def test_a_damaged_checkpoint_is_passed_over_and_named(damage: str, tmp_path: Path) -> None:
    whole = sglr.train(clients=4, samples_per_client=60, epochs=2, model="mlp", checkpoint_every=2, out=tmp_path / "w")
    run = _stopped_run(tmp_path / "r")
    newest = run.checkpoints[-1]
    content = bytearray(newest.read_bytes())
    content[-1] ^= 0x40
    changed = {"torn": content[: len(content) // 2], "flipped": content, "empty": b""}[damage]
    newest.write_bytes(bytes(changed))
    said: list[str] = []
    again = sglr.resume(run.path, say=said.append)
    assert len(said) == 1
    assert newest.name in said[0]
    assert "checkpoint before it" in said[0]
    assert again.summary["weights_sha256"] == whole.summary["weights_sha256"]


def test_a_checkpoint_that_was_copied_later_than_the_records_is_passed_over(tmp_path: Path) -> None:
    whole = sglr.train(clients=4, samples_per_client=60, epochs=2, model="mlp", checkpoint_every=2, out=tmp_path / "w")
    run = _stopped_run(tmp_path / "r", steps=9)
    # As cp leaves it if the first epoch ends between the two.
    (run.path / "metrics.jsonl").unlink()
    said: list[str] = []
    again = sglr.resume(run.path, say=said.append)
    assert len(said) == 2
    assert said[0].startswith("metrics.jsonl ends after epoch 0, the checkpoint is of epoch 1; going back")
    assert [record["epoch"] for record in again.history] == [1, 2]
    assert again.summary["weights_sha256"] == whole.summary["weights_sha256"]


def test_a_copy_without_a_checkpoint_of_its_records_is_refused_and_stays(tmp_path: Path) -> None:
    run = _stopped_run(tmp_path / "r")
    (run.path / "metrics.jsonl").unlink()
    before = _contents(run.path)
    with pytest.raises(
        UsageError, match=r"metrics\.jsonl ends after epoch 0.*copy the folder again while nobody trains"
    ):
        sglr.resume(run.path)
    assert _contents(run.path) == before


def _contents(folder: Path) -> dict[str, bytes | None]:
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


@contextmanager
def _unreadable(path: Path) -> Iterator[None]:
    """Put a symlink to itself in a file's place: neither root can read it."""
    aside = path.rename(path.with_name(f"{path.name}.aside"))
    path.symlink_to(path)
    yield
    path.unlink()
    aside.rename(path)


def test_what_cannot_be_read_for_a_moment_ends_with_its_cause_and_nothing_is_lost(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = sglr.train(clients=4, samples_per_client=60, epochs=2, model="mlp", checkpoint_every=2, out=tmp_path / "w")
    run = _stopped_run(tmp_path / "r")
    before = _contents(run.path)
    files = (run.path / name for name in ("checkpoints", "metrics.jsonl", "config.toml", "data.json", "choices.json"))
    for path in (run.checkpoints[-1], *files):
        with _unreadable(path):
            assert main(["resume", str(run.path)]) == 1, path
        assert f"{path.name}: cannot be read (Too many levels of symbolic links)" in capsys.readouterr().err
        assert _contents(run.path) == before
    assert sglr.resume(run.path).summary["weights_sha256"] == whole.summary["weights_sha256"]


def test_a_finished_run_whose_summary_cannot_be_read_is_not_trained_again(tmp_path: Path) -> None:
    run = sglr.train(clients=2, samples_per_client=20, epochs=1, model="mlp", out=tmp_path / "r")
    before = _contents(run.path)
    with _unreadable(run.path / "summary.json"), pytest.raises(NotRead, match=r"summary\.json"):
        sglr.resume(run.path)
    assert _contents(run.path) == before


def test_all_checkpoints_damaged_is_an_error_and_loses_nothing(tmp_path: Path) -> None:
    run = _stopped_run(tmp_path / "r")
    for path in run.checkpoints:
        path.write_bytes(b"rubbish")
    before = (run.path / "metrics.jsonl").read_text()
    with pytest.raises(UsageError, match="all checkpoints are damaged"):
        sglr.resume(run.path)
    assert (run.path / "metrics.jsonl").read_text() == before


def test_checkpoints_of_another_configuration_are_refused(tmp_path: Path) -> None:
    run = _stopped_run(tmp_path / "r")
    config = run.path / "config.toml"
    config.write_text(config.read_text().replace("lr = 0.001", "lr = 0.002"))
    with pytest.raises(UsageError, match="another configuration"):
        sglr.resume(run.path)


def test_a_finished_run_is_returned_as_it_is(tmp_path: Path) -> None:
    run = sglr.train(clients=2, samples_per_client=20, epochs=1, model="mlp", out=tmp_path / "r")
    before = {path: path.stat().st_mtime_ns for path in run.path.rglob("*") if path.is_file()}
    said: list[str] = []
    assert sglr.resume(run.path, say=said.append).summary == run.summary
    assert said == [f"{run.path} is finished; nothing to do"]
    assert {path: path.stat().st_mtime_ns for path in run.path.rglob("*") if path.is_file()} == before


def test_a_folder_that_holds_a_run_is_not_overwritten(tmp_path: Path) -> None:
    settings = {"clients": 2, "samples_per_client": 20, "epochs": 1, "model": "mlp", "out": tmp_path / "r"}
    sglr.train(**settings)
    with pytest.raises(UsageError, match="holds this run already"):
        sglr.train(**settings)
    with pytest.raises(UsageError, match=r"another configuration .*seed is 0 there, 1 here"):
        sglr.train(seed=1, **settings)


@pytest.mark.parametrize(
    "settings", [pytest.param({"precision": "bf16"}, marks=pytest.mark.slow), {"stacking": "matmul"}]
)
def test_another_way_of_computing_resumes_bit_for_bit_too(settings: dict[str, str], tmp_path: Path) -> None:
    settings = {"clients": 4, "samples_per_client": 40, "epochs": 2, "model": "cnn", **settings}
    whole = sglr.train(out=tmp_path / "whole", **settings)
    plain = sglr.train(out=tmp_path / "plain", **{**settings, "precision": "fp32", "stacking": "looped"})
    observe, stop = _stop_after(7)
    with pytest.raises(Interrupted):
        sglr.train(out=tmp_path / "stopped", observe=observe, stop=stop, **settings)
    found = sglr.resume(tmp_path / "stopped").summary["weights_sha256"]
    assert found == whole.summary["weights_sha256"] != plain.summary["weights_sha256"]


def test_a_run_whose_data_have_changed_is_not_resumed(tmp_path: Path) -> None:
    rows = "".join(f"{number % 7},{number % 3 % 2}\n" for number in range(60))
    table = tmp_path / "table.csv"
    table.write_text("x,label\n" + rows)
    settings = {"dataset": f"table:{table}", "model": "mlp", "clients": 2, "epochs": 2}
    with pytest.raises(Interrupted):
        execute(Experiment.from_flat(settings), tmp_path / "run", stop=lambda: True)
    table.write_text("x,label\n" + rows + "1,1\n" * 30)
    with pytest.raises(UsageError, match="its clients would not have the data that they had when the run began"):
        sglr.resume(tmp_path / "run")
    table.write_text("x,label\n" + rows)
    assert sglr.resume(tmp_path / "run").summary is not None
