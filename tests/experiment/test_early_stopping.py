"""Users' stories: a training that ends when it no longer improves, by the score that the user names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import sglr
from sglr.core.errors import Interrupted
from sglr.core.events import EpochDone
from sglr.core.plan import Progress, TrainingPlan

SETTINGS: dict[str, Any] = {
    "clients": 2,
    "samples_per_client": 16,
    "test_samples": 40,
    "validation": 20,
    "epochs": 30,
    "model": "mlp",
    "lr": 0.05,
    "monitor": "loss",
    "early_stopping": 3,
}


def stops_after(scores: list[float], patience: int) -> int:
    """Return the epoch with which a training ends whose losses are these."""
    best = 0
    for epoch, loss in enumerate(scores):
        best = epoch if loss < scores[best] else best
        if epoch - best == patience:
            return epoch + 1
    return len(scores)


def test_the_run_ends_is_tested_at_its_best_epoch_and_costs_what_it_did(tmp_path: Path) -> None:
    run = sglr.train("sglr", out=tmp_path / "run", **SETTINGS)
    summary, losses = run.summary, [record["validation_loss"] for record in run.history]
    best = 1 + losses.index(min(losses))
    assert len(losses) == stops_after(losses, 3) < 30
    assert (summary["epochs"], summary["epochs_done"]) == (30, len(losses))
    assert summary["stopped"] == f"early stopping, as validation loss did not improve since epoch {best}"
    assert summary["test"]["epoch"] == summary["validation"]["best_epoch"] == best
    assert summary["validation"]["loss"] == min(losses)
    assert summary["validation"]["accuracy"] == run.history[best - 1]["validation_accuracy"]
    fewer = {**SETTINGS, "epochs": len(losses), "early_stopping": None, "schedule": "step"}
    assert run.history[-1]["learning_rate"] == 0.05, "the schedule is that of the epochs that were planned"
    planned = sglr.train("sglr", out=tmp_path / "planned", **fewer).summary
    for costs in ("communication", "computation"):
        assert summary[costs] == planned[costs]


def test_stopped_anywhere_and_resumed_it_ends_in_the_same_epoch(tmp_path: Path) -> None:
    whole = sglr.train("psl", out=tmp_path / "whole", **SETTINGS)
    last = whole.summary["epochs_done"]
    for at in (last - 1, last):
        out, seen = tmp_path / str(at), []

        def stop(at: int = at, seen: list[int] = seen) -> bool:
            return len(seen) >= at

        try:
            sglr.train("psl", out=out, stop=stop, observe=lambda event, seen=seen: note(event, seen), **SETTINGS)
        except Interrupted:
            assert at < last
        else:
            assert at == last
        again = sglr.resume(out).summary
        assert again["weights_sha256"] == whole.summary["weights_sha256"]
        assert again["stopped"] == whole.summary["stopped"]


def note(event: Any, seen: list[int]) -> None:
    if isinstance(event, EpochDone):
        seen.append(event.epoch)


@pytest.mark.parametrize(("monitor", "better"), [("balanced_accuracy", max), ("loss", min)])
def test_any_score_of_the_task_chooses_the_best_epoch(tmp_path: Path, monitor: str, better: Any) -> None:
    settings = {**SETTINGS, "monitor": monitor, "epochs": 5, "early_stopping": None}
    run = sglr.train("psl", out=tmp_path / "run", **settings)
    scores = [record[f"validation_{monitor}"] for record in run.history]
    assert run.summary["test"]["epoch"] == 1 + scores.index(better(scores))


ROUNDS: dict[str, Any] = {
    "clients": 2,
    "samples_per_client": 40,
    "batch_size": 20,
    "test_samples": 40,
    "validation": 20,
    "epochs": 9,
    "model": "mlp",
    "optimizer": "sgd",
    "lr": 0.05,
    "monitor": "loss",
    "threads": 1,
    "stacking": "looped",
    "local_epochs": 3,
}
"""Rounds of three epochs, each of which ends better than the one before."""


def test_weights_that_no_merge_has_changed_are_not_judged_again() -> None:
    run = sglr.train("fl", early_stopping=2, schedule="plateau:factor=0.5,patience=1", **ROUNDS)
    losses = [record["validation_loss"] for record in run.history]
    assert losses[0] == losses[1] > losses[2] == losses[4] > losses[5] == losses[7] > losses[8]
    assert (run.summary["epochs_done"], run.summary["stopped"]) == (9, None)
    assert {record["learning_rate"] for record in run.history} == {0.05}


def test_the_epoch_that_ends_a_round_is_validated_before_the_training_may_end_with_it() -> None:
    """Validations are due after epochs 4 and 8; with the second nothing is better, and its round ends with epoch 9."""
    worse = {**ROUNDS, "lr": 1e-9, "epochs": 30, "eval_every": 4, "early_stopping": 1}
    run = sglr.train("fl", **worse)
    assert [record["epoch"] for record in run.history if "validation_loss" in record] == [4, 8, 9]
    assert run.summary["stopped"].startswith("early stopping, as validation loss did not improve since epoch")
    assert run.summary["epochs_done"] == 9


def test_a_round_that_ends_better_goes_on() -> None:
    """Early stopping is due within a round, and the weights that are merged at its end are the best so far."""
    plan = TrainingPlan(epochs=9, rate=1, server_rate=1, early_stopping=1)
    progress = Progress()
    for score, due in ((0.5, False), (0.4, True), (0.6, False)):
        plan.judge(progress, 1, score)
        assert bool(plan.why_ended(progress)) == due


def test_rounds_that_are_stopped_anywhere_and_resumed_are_judged_alike(tmp_path: Path) -> None:
    settings = {**ROUNDS, "epochs": 6, "schedule": "plateau:factor=0.5,patience=0,threshold=0.9"}
    whole = sglr.train("fl", out=tmp_path / "whole", **settings)
    assert [record["learning_rate"] for record in whole.history] == [0.05] * 3 + [0.025] * 3
    for at in (1, 2, 4):
        out, seen = tmp_path / str(at), []

        def stop(at: int = at, seen: list[int] = seen) -> bool:
            return len(seen) >= at

        with pytest.raises(Interrupted):
            sglr.train("fl", out=out, stop=stop, observe=lambda event, seen=seen: note(event, seen), **settings)
        again = sglr.resume(out)
        assert again.summary["weights_sha256"] == whole.summary["weights_sha256"]
        assert again.history[-1]["learning_rate"] == whole.history[-1]["learning_rate"]


def test_rounds_of_several_epochs_are_ended_whole(tmp_path: Path) -> None:
    run = sglr.train("fl", out=tmp_path / "run", local_epochs=4, **{**SETTINGS, "early_stopping": 1})
    assert run.summary["epochs_done"] % 4 == 0
    assert run.summary["epochs_done"] < 30
