"""Experiments of a study: each is trained once, stopped ones go on, and what diverges is told."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import pytest

from sglr.core.errors import Interrupted, UsageError
from sglr.runs.config import Experiment
from sglr.runs.folder import CONFIG
from sglr.studies.scheduler.outcome import DIVERGED, Outcome
from sglr.studies.scheduler.progress import StudyProgress
from sglr.studies.scheduler.run_all import run_all
from sglr.studies.scheduler.trial import Trial

TINY = {"method": "slr", "model": "mlp", "clients": 4, "samples_per_client": 16, "epochs": 1, "threads": 1}


def experiments(**settings) -> list[Experiment]:
    return [Experiment.from_flat({**TINY, "alpha": alpha, **settings}) for alpha in (0.0, 0.5, 1.0)]


def train_all(wanted: Iterable[Experiment], folder: Path, **how) -> dict[str, Outcome]:
    outcomes = run_all([Trial.of(experiment, folder) for experiment in wanted], **how)
    return {outcome.experiment.fingerprint(): outcome for outcome in outcomes}


def test_an_interrupted_sweep_goes_on_where_it_stopped_and_repeats_nothing(tmp_path: Path) -> None:
    wanted = experiments()
    polls = iter(range(10**6))
    with pytest.raises(Interrupted):
        train_all(wanted, tmp_path, stop=lambda: next(polls) > 4)
    begun = [path for path in tmp_path.iterdir() if (path / CONFIG).is_file()]
    assert 0 < len(begun) < len(wanted)
    seen: list[object] = []
    outcomes = train_all(wanted, tmp_path, observe=seen.append)
    assert all(one.accuracy is not None for one in outcomes.values())
    assert all(one.seconds > 0 for one in outcomes.values())
    before = {path: (path / "summary.json").stat().st_mtime_ns for path in tmp_path.iterdir()}
    train_all(wanted, tmp_path, observe=seen.append)
    assert {path: (path / "summary.json").stat().st_mtime_ns for path in tmp_path.iterdir()} == before
    assert seen[-1] == StudyProgress(done=len(wanted), total=len(wanted), found=len(wanted))


def test_what_diverges_is_told_with_its_step_and_does_not_stop_the_others(tmp_path: Path) -> None:
    sound = experiments()
    wild = experiments(optimizer="sgd", lr=1e30)[0]
    outcomes = train_all([wild, *sound], tmp_path)
    diverged = outcomes[wild.fingerprint()]
    assert diverged.accuracy is None
    assert diverged.problem is not None
    assert "step" in diverged.problem
    assert all(outcomes[one.fingerprint()].accuracy is not None for one in sound)
    written = (tmp_path / wild.fingerprint() / DIVERGED).stat().st_mtime_ns
    train_all([wild, *sound], tmp_path)
    assert (tmp_path / wild.fingerprint() / DIVERGED).stat().st_mtime_ns == written


def test_runs_of_another_version_are_refused(tmp_path: Path) -> None:
    (wanted, *_) = experiments()
    train_all([wanted], tmp_path)
    path = tmp_path / wanted.fingerprint() / "summary.json"
    summary = json.loads(path.read_text(encoding="utf-8"))
    summary["versions"]["sglr"] = "0.0.1"
    path.write_text(json.dumps(summary), encoding="utf-8")
    with pytest.raises(UsageError, match=r"0\.0\.1"):
        train_all([wanted], tmp_path)
