"""The rates of every step, and what a checkpoint says of the progress."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from sglr.core.optim import Plateau
from sglr.core.plan import Progress, TrainingPlan


def test_warm_up_rises_in_a_straight_line_and_then_the_schedule_goes_on() -> None:
    plan = TrainingPlan(epochs=4, rate=0.8, server_rate=0.4, schedule="constant", warmup=1.5)
    places = [(epoch, step) for epoch in range(2) for step in range(4)]
    rates = [plan.rates(Progress(epoch=epoch), (step + 1) / 4) for epoch, step in places]
    assert [rate.clients for rate in rates] == pytest.approx([0.8 * step / 6 for step in range(1, 7)] + [0.8, 0.8])
    assert [rate.server for rate in rates] == pytest.approx([0.4 * step / 6 for step in range(1, 7)] + [0.4, 0.4])


def test_without_warm_up_rates_are_those_of_the_schedule_in_all_steps() -> None:
    plan = TrainingPlan(epochs=5, rate=0.3, server_rate=0.7)
    lowered = (0.3 * 0.1, 0.7 * 0.1)
    assert [plan.rates(Progress(epoch=epoch), 0.1) for epoch in (0, 3, 4)] == [(0.3, 0.7), (0.3, 0.7), lowered]


def test_plateau_lowers_both_rates_and_forgives_a_score_that_is_not_a_number() -> None:
    plan = TrainingPlan(epochs=9, rate=0.8, server_rate=0.4, plateau=Plateau(factor=0.5, patience=1))
    progress, seen = Progress(), []
    for score in (0.5, 0.4, float("nan"), 0.5, 0.5, 0.6, 0.6):
        plan.judge(progress, 1, score)
        seen.append(plan.rates(progress))
    assert seen == [(0.8, 0.4)] * 3 + [(0.4, 0.2)] * 4
    assert Progress.of(asdict(progress)) == progress


def test_early_stopping_counts_validations_in_a_row_without_a_better_score() -> None:
    plan = TrainingPlan(epochs=9, rate=1, server_rate=1, monitor="loss", higher_is_better=False, early_stopping=2)
    progress, best, stopped = Progress(), [], []
    for epoch, score in enumerate((0.5, 0.6, 0.4, 0.4, float("nan"))):
        best.append(plan.judge(progress, epoch + 1, score))
        stopped.append(plan.why_ended(progress))
    assert best == [True, False, True, False, False]
    assert stopped == [""] * 4 + ["early stopping, as validation loss did not improve since epoch 3"]
    assert (progress.best_epoch, progress.best_score) == (3, 0.4)


def test_progress_of_before_is_readable_and_what_is_wrong_is_not() -> None:
    old = asdict(Progress(epoch=1))
    for name in ("plateau", "stopped", "stale", "changed"):
        del old[name]
    assert Progress.of(old) == Progress(epoch=1)
    good = {"rates": [0.1, 0.2], "best": 0.5, "num_bad_epochs": 0, "cooldown_counter": 0}
    assert Progress.of({"plateau": good}).plateau == good
    with pytest.raises(TypeError):
        Progress.of({"changed": 1})
    for wrong in ({"rates": [0.1]}, {"rates": [0.1, "x"]}, {"best": None}, {"best": float("nan")}):
        with pytest.raises((ValueError, TypeError, KeyError)):
            Progress.of({"plateau": {**good, **wrong}})


@pytest.mark.parametrize(("monitor", "best"), [("auroc", 3), ("accuracy", 2)])
def test_of_equal_scores_the_one_with_the_least_loss_is_best_but_of_equal_accuracies_the_first(
    monitor: str, best: int
) -> None:
    plan, progress = TrainingPlan(5, 0.1, 0.1, monitor=monitor, early_stopping=2), Progress()
    for epoch, (score, loss) in enumerate(((0.9, 0.1), (1.0, 0.5), (1.0, 0.2), (1.0, 0.3)), start=1):
        plan.judge(progress, epoch, score, loss)
    assert progress.best_epoch == best
    assert plan.why_ended(progress)
