"""Sweeps: every configuration once for every seed; stopped, killed, longer or diverged, nothing is trained twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tomllib
from pathlib import Path
from statistics import fmean, stdev

import pytest
import tomli_w
import torch
from tests.process_families import alive, descendants, wait_for

import sglr
from sglr.core.data import Dataset, Samples
from sglr.core.errors import Interrupted, UsageError
from sglr.core.task import Targets
from sglr.runs.folder import CONFIG, Run
from sglr.studies.compare.comparison import write_comparison
from sglr.studies.scheduler.progress import StudyProgress
from sglr.studies.sweeps.results import Sweep
from sglr.studies.sweeps.sweep import GRID_FILE, TRIALS, plan, sweep


def written(folder: Path) -> dict[str, int]:
    """When each run in the folder was finished."""
    return {path.parent.name: path.stat().st_mtime_ns for path in folder.glob(f"{TRIALS}/*/summary.json")}


def test_the_rows_are_means_and_spreads_of_ordinary_runs(trained: Path) -> None:
    found = Sweep.read(trained)
    assert [row["label"] for row in found.rows] == [
        "psl, lr=0.001",
        "psl, lr=0.01",
        "sglr:phi=0.5, lr=0.001",
        "sglr:phi=0.5, lr=0.01",
    ]
    for row in found.rows:
        runs = [Run.open(trained / run) for run in row["runs"]]
        accuracies = [run.summary["test"]["accuracy"] for run in runs]
        assert [run.experiment.seed for run in runs] == row["seeds"] == [0, 1]
        assert {run.experiment.lr for run in runs} == {row["values"]["lr"]}
        assert accuracies == row["accuracies"]
        assert row["test"]["accuracy"] == pytest.approx(fmean(accuracies))
        assert row["test"]["accuracy_sd"] == pytest.approx(stdev(accuracies))
    assert found.best == max(found.rows, key=lambda row: row["test"]["accuracy"])
    assert len(found.headings()) == len(found.table()[0])


def test_training_on_pooled_data_is_the_ceiling_and_never_best() -> None:
    def row(label: str, accuracy: float, pooled: bool, diverged: tuple[str, ...] = ()) -> dict[str, object]:
        return {"label": label, "test": {"accuracy": accuracy}, "pooled": pooled, "diverged": diverged, "values": {}}

    rows = [row("cl", 0.99, True), row("psl", 0.8, False), row("sglr", 0.9, False), row("fl", 0.95, False, ("seed 0",))]
    found = Sweep(Path(), rows)
    assert (found.record()["best"], found.record()["ceiling"]) == ("sglr", "cl")
    assert Sweep(Path(), rows[:1]).best is None
    assert Sweep(Path(), rows[1:]).ceiling is None


def test_rows_say_which_method_trains_on_pooled_data(trained: Path) -> None:
    assert [row["pooled"] for row in Sweep.read(trained).rows] == [False] * 4


def test_the_same_sweep_again_repeats_nothing_and_a_longer_one_trains_what_is_new(own: Path, grid) -> None:
    before = written(own)
    seen: list[StudyProgress] = []
    again = sweep(grid, out=own, jobs=1, observe=seen.append)
    assert seen == [StudyProgress(8, 8, 8)]
    assert written(own) == before
    assert again.rows == Sweep.read(own).rows
    grid["grid"]["lr"].append(0.03)
    longer = sweep(grid, out=own, jobs=1)
    after = written(own)
    assert len(longer.rows) == 6
    assert len(after) == 12
    assert {run: after[run] for run in before} == before
    grid["grid"]["lr"].pop()


def test_the_grid_that_a_sweep_keeps_is_the_sweep(own: Path, grid) -> None:
    before = written(own)
    sweep(own / GRID_FILE, out=own, jobs=1)
    assert written(own) == before
    assert tomllib.loads((own / GRID_FILE).read_text(encoding="utf-8")) == grid


def test_a_stopped_sweep_goes_on_and_plan_tells_how_far_it_is(tmp_path: Path, tiny) -> None:
    grid = {**tiny, "stacking": "looped", "grid": {"lr": [0.001, 0.01, 0.1]}}
    polls = iter(range(10**6))
    with pytest.raises(Interrupted, match="goes on from there"):
        sweep(grid, out=tmp_path / "s", jobs=1, stop=lambda: next(polls) > 4)
    stopped = plan(grid, out=tmp_path / "s")
    states = [stopped.state(experiment) for experiment in stopped.experiments]
    assert states[0] == "done"
    assert "stopped" in states or "new" in states
    before = written(tmp_path / "s")
    assert len(sweep(grid, out=tmp_path / "s", jobs=1).rows) == 3
    assert before.items() <= written(tmp_path / "s").items()


def test_what_diverges_is_told_and_the_others_count(tmp_path: Path, tiny) -> None:
    grid = {**tiny, "optimizer": "sgd", "grid": {"lr": [0.01, 1e30]}}
    found = sweep(grid, out=tmp_path / "s", jobs=1)
    sound, wild = found.rows
    assert (sound["diverged"], wild["accuracies"], wild["test"]["accuracy"]) == ([], [None], None)
    assert found.best == sound
    assert found.table()[1][1] == "diverged"
    assert "lr=1e+30, seed 0: " in found.notes()[0]
    assert "diverged" in (tmp_path / "s/report.html").read_text(encoding="utf-8")
    again = plan(grid, out=tmp_path / "s")
    assert [again.state(experiment) for experiment in again.experiments] == ["done", "diverged"]


def test_what_can_not_be_built_is_told_before_anything_trains(tmp_path: Path, tiny) -> None:
    grid = {**tiny, "grid": {"cut": ["relu1", "nowhere"]}}
    with pytest.raises(UsageError, match=r"cut = nowhere: .*in the configuration cut=nowhere"):
        sweep(grid, out=tmp_path / "s", jobs=1)
    with pytest.raises(UsageError, match="energy_profile"):
        sweep({**tiny, "energy_profile": "nonsense", "grid": {"lr": [0.1]}}, out=tmp_path / "s")
    with pytest.raises(UsageError, match="jobs = 0"):
        sweep(grid, out=tmp_path / "s", jobs=0)
    assert not (tmp_path / "s").exists()


def test_a_folder_that_holds_something_else_is_refused(tmp_path: Path, grid) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / CONFIG).write_text("")
    for folder, told in ((tmp_path / "file", "is a file"), (tmp_path / "run", "single run"), (tmp_path, "other files")):
        with pytest.raises(UsageError, match=told):
            plan(grid, out=folder)


def test_leftovers_of_a_killed_start_do_not_matter(tmp_path: Path, tiny) -> None:
    """A folder without settings, as a kill between two system calls leaves it, is begun anew."""
    grid = {**tiny, "grid": {"lr": [0.01]}}
    (experiment,) = plan(grid, out=tmp_path / "s").experiments
    torn = tmp_path / "s" / TRIALS / experiment.fingerprint()
    torn.mkdir(parents=True)
    (torn / ".config.toml.partial").write_text("met")
    (tmp_path / "s" / GRID_FILE).write_text("")
    assert sweep(grid, out=tmp_path / "s", jobs=1).rows[0]["test"]["accuracy"] is not None


def test_the_python_way_takes_a_file_and_settings(tmp_path: Path, tiny, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my rates.toml").write_text(tomli_w.dumps({**tiny, "grid": {"lr": [0.01, 0.1]}}), encoding="utf-8")
    found = sglr.sweep("my rates.toml", jobs=1, method="psl")
    assert isinstance(found, sglr.Sweep)
    assert found.path == Path("runs/sweep-my-rates")
    assert {row["method"] for row in found.rows} == {"psl"}


@pytest.mark.slow
def test_killed_at_any_time_it_leaves_no_process_and_goes_on(tmp_path: Path, tiny) -> None:
    grid = {**tiny, "samples_per_client": 100, "epochs": 15, "grid": {"method": ["psl", "sfl"], "seed": [0, 1]}}
    (tmp_path / "grid.toml").write_text(tomli_w.dumps({**grid, "stacking": "looped"}), encoding="utf-8")
    command = [sys.executable, "-m", "sglr", "sweep", "grid.toml", "--out", "s", "--jobs", "2", "--quiet"]
    parent = subprocess.Popen(command, cwd=tmp_path)
    wait_for(lambda: len(list(tmp_path.glob("s/cells/*/checkpoints/step-*.safetensors"))) > 3)
    workers = descendants(parent.pid)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    assert workers
    wait_for(lambda: not any(alive(worker) for worker in workers))
    reached = {path: len(Run(path).history) for path in tmp_path.glob("s/cells/*")}
    assert max(reached.values()) > 0
    done = subprocess.run([*command, "--json"], cwd=tmp_path, capture_output=True, text=True, check=True)
    record = json.loads(done.stdout)
    assert [row["accuracies"].count(None) for row in record["rows"]] == [0, 0]
    alone = sglr.train(
        "psl", out=tmp_path / "alone", threads=1, stacking="looped", **{k: grid[k] for k in grid if k != "grid"}
    )
    first = Run.open(tmp_path / "s" / record["rows"][0]["runs"][0])
    assert first.summary["weights_sha256"] == alone.summary["weights_sha256"]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_to_all_its_processes_stops_it_and_it_says_how_to_go_on(
    tmp_path: Path, tiny, number: signal.Signals
) -> None:
    """As a terminal that is closed, or the end of a job on a cluster, sends it."""
    grid = {**tiny, "samples_per_client": 100, "epochs": 500, "grid": {"seed": [0, 1]}}
    (tmp_path / "grid.toml").write_text(tomli_w.dumps(grid), encoding="utf-8")
    command = [sys.executable, "-m", "sglr", "sweep", "grid.toml", "--out", "s", "--jobs", "2", "--quiet"]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, start_new_session=True)
    wait_for(lambda: [len(Run(path).history) > 0 for path in tmp_path.glob("s/cells/*")] == [True, True])
    started = descendants(process.pid)
    os.killpg(process.pid, number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert said.splitlines()[-1] == "stopped; the same sweep again with out = s goes on from there"
    assert "Traceback" not in said
    wait_for(lambda: not any(alive(one) for one in started))


def test_of_errors_the_least_is_best_and_stands_first(tmp_path: Path) -> None:
    def row(label: str, mean: float | None) -> dict[str, object]:
        test = {"headline": "rmse", "higher_is_better": False, "unit": "mm", "rmse": mean, "rmse_sd": 0.25}
        costs = {"communication": {"up_bytes": 1, "down_bytes": 1}, "seconds": 1.0, "samples_per_second": 1.0}
        diverged = ["seed 0: the loss is no number"] if mean is None else []
        told = {"label": label, "name": "", "values": {"method": label}, "parameters": {}, "best_epoch": 1}
        return {**told, "seeds": [0], "diverged": diverged, "test": {} if mean is None else test, **costs}

    rows = [row("worse", 3.0), row("lost", None), row("better", 2.5)]
    found = Sweep(tmp_path, rows)
    assert found.best is rows[2]
    assert [line[1] for line in found.table()] == ["3.000 mm ± 0.25", "diverged", "2.500 mm ± 0.25"]
    assert "test RMSE" in found.headings()
    compared = write_comparison(tmp_path, rows)
    assert [one["label"] for one in compared.rows] == ["better", "worse", "lost"]
    assert "Less RMSE is better." in compared.markdown()


def test_a_grid_over_tasks_is_refused(tmp_path: Path) -> None:
    inputs = torch.zeros(20, 4)
    part = Samples(inputs, torch.arange(20) % 2)
    data = Dataset("both", part, part, targets=Targets(("no", "yes"), classes=2))
    grid = {"model": "mlp", "clients": 2, "epochs": 1, "grid": {"task": ["classification", "binary"]}}
    with pytest.raises(UsageError, match=r"learns binary, and .* learns classification: their scores can't be"):
        sweep(grid, dataset=data, jobs=1, out=tmp_path / "sweep")
    assert not (tmp_path / "sweep").exists()
