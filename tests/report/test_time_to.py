"""When a score was reached on simulated clocks, by hand."""

from __future__ import annotations

from sglr.report.score_style import ScoreStyle, style
from sglr.report.time_to import mean_seconds_to, reached_by_all, seconds_to, time_curve

ACCURACY, ERROR = ScoreStyle(), style("mae")


def history(*pairs: tuple[float, float], key: str = "validation_accuracy") -> list[dict[str, float]]:
    return [{"epoch": at + 1, "modelled_seconds": time, key: score} for at, (time, score) in enumerate(pairs)]


def test_the_first_epoch_that_is_good_enough_counts() -> None:
    one = history((2.0, 0.4), (4.0, 0.8), (6.0, 0.7))
    assert seconds_to(one, ACCURACY, 0.7) == 4.0
    assert seconds_to(one, ACCURACY, 0.9) is None
    assert seconds_to(history((2.0, 5.0), (4.0, 3.0), key="validation_mae"), ERROR, 4.0) == 4.0
    assert seconds_to([{"epoch": 1, "validation_accuracy": 1.0}], ACCURACY, 0.5) is None


def test_the_mean_is_of_runs_that_all_got_there() -> None:
    runs = [history((2.0, 0.4), (4.0, 0.8)), history((3.0, 0.6))]
    assert mean_seconds_to(runs, ACCURACY, 0.5) == 3.5
    assert mean_seconds_to(runs, ACCURACY, 0.7) is None
    assert reached_by_all(runs, ACCURACY) == 0.6
    assert reached_by_all([*runs, []], ACCURACY) is None
    lower = [history((1.0, 3.0), (2.0, 4.0), key="validation_mae"), history((1.0, 2.0), key="validation_mae")]
    assert reached_by_all(lower, ERROR) == 3.0


def test_a_curve_against_time_is_of_means() -> None:
    runs = [history((2.0, 0.4), (4.0, 0.8)), history((4.0, 0.6), (8.0, 0.9))]
    found = time_curve("psl", runs, "validation_accuracy")
    assert found.epochs == (3.0, 6.0)
    assert [round(value, 6) for value in found.values] == [0.5, 0.85]


def test_a_curve_of_runs_of_different_lengths_goes_forward_in_time() -> None:
    runs = [history((10.0, 0.4), (20.0, 0.5)), history((2.0, 0.5), (4.0, 0.6), (6.0, 0.5))]
    assert time_curve("psl", runs, "validation_accuracy").epochs == (6.0, 12.0)
