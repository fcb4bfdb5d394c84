"""What is shown of a training under way."""

from __future__ import annotations

import os
import signal
import time

import pytest

from sglr.cli.progress import Live, Pace, PlainProgress, epoch_line
from sglr.cli.screens import sparkline
from sglr.cli.watching import watching
from sglr.core.events import EpochDone, StepDone
from sglr.runs.config import Experiment
from sglr.runs.folder import Run
from sglr.studies.scheduler.outcome import Outcome
from sglr.studies.scheduler.progress import StudyProgress, TrialStarted
from sglr.studies.scheduler.trial import Trial

RECORD = {"epoch": 1, "loss": 1.25, "train_accuracy": 0.5, "steps": 4, "samples": 64, "seconds": 2.0}


def test_an_epochs_line_shows_what_was_measured():
    scores = {"validation_accuracy": 0.8751, "validation_accuracy_std_over_clients": 0.021}
    line = epoch_line(EpochDone(4, 10, {**RECORD, **scores}))
    assert line == "epoch  5/10  loss 1.250  train  50.0 %  val  87.5 % ± 2.1       32 samples/s"
    assert "val" not in epoch_line(EpochDone(4, 10, RECORD))


def test_pace_follows_the_clock(monkeypatch):
    now = iter([10.0, 11.0, 12.0])
    monkeypatch.setattr(time, "perf_counter", lambda: next(now))
    pace = Pace()
    pace.begin(2, 2)
    pace.step(StepDone(0, 2, 1, 5, 8))
    assert (pace.share, pace.samples_per_second, pace.seconds_left) == (pytest.approx(0.55), None, None)
    pace.step(StepDone(0, 2, 2, 5, 8))
    pace.step(StepDone(0, 2, 3, 5, 8))
    assert pace.share == pytest.approx(0.65)  # one run of two, and three steps of ten
    assert pace.samples_per_second == 8
    assert pace.seconds_left == pytest.approx(7.0)  # a second for every step of the seven that remain


def test_the_live_view_leaves_the_lines_of_epochs_and_no_bar(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "120")
    with Live() as view:
        for step in range(1, 4):
            view.observe(StepDone(0, 1, step, 3, 8))
        view.observe(EpochDone(0, 1, RECORD))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert epoch_line(EpochDone(0, 1, RECORD)) in captured.err


@pytest.mark.parametrize("kind", [PlainProgress, Live])
def test_a_study_leaves_one_line_per_run_and_none_per_epoch(monkeypatch, capsys, tmp_path, kind):
    monkeypatch.setenv("COLUMNS", "80")
    trial = Trial("psl", Experiment.from_flat({"seed": 3}), tmp_path)
    view = kind()
    with view:
        view.observe(StudyProgress(9, 11, 9))
        for done in (10, 11):
            view.observe(TrialStarted(trial))
            view.observe(StepDone(0, 1, 1, 1, 8))
            view.observe(EpochDone(0, 1, RECORD))
            outcome = Outcome(trial.experiment, Run(tmp_path), f"at step {done}")
            view.observe(StudyProgress(done, 11, 9, trial, outcome))
    assert capsys.readouterr().err.strip().splitlines() == [
        "9 of 11 runs were done before",
        "[10/11] psl, seed 3: diverged: at step 10",
        "[11/11] psl, seed 3: diverged: at step 11",
    ]


def test_a_quiet_run_shows_nothing_and_a_piped_one_lines(capsys):
    for quiet, shown in ((True, ""), (False, f"{epoch_line(EpochDone(0, 1, RECORD))}\n")):
        with watching(quiet) as watch:
            watch.observe(StepDone(0, 1, 1, 3, 8))
            watch.observe(EpochDone(0, 1, RECORD))
        assert capsys.readouterr().err == shown


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks_to_stop_and_the_second_stops(number):
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt), watching(quiet=True) as watch:
        assert not watch.stop()
        os.kill(os.getpid(), number)
        assert watch.stop()
        os.kill(os.getpid(), number)
    assert signal.getsignal(number) == before


def test_a_sparkline_spans_from_the_least_to_the_greatest():
    assert sparkline([0.0, 0.5, 1.0]) == "▁▅█"
    assert sparkline([3.0, 3.0]) == "▁▁"
    assert len(sparkline([float(n) for n in range(500)], width=40)) == 40


def test_plain_writes_one_line_per_epoch(capsys):
    view = PlainProgress()
    view.observe(EpochDone(0, 2, RECORD))
    view.observe(EpochDone(1, 2, RECORD))
    assert len(capsys.readouterr().err.splitlines()) == 2
