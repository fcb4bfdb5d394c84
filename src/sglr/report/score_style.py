"""How scores are named and written: accuracies in percent, errors plainly and with their unit; and which is better."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sglr.report import numbers

ACCURACY = "accuracy"
"""The headline of runs of before there were tasks."""

VALIDATION, OVER_CLIENTS = "validation_", "_std_over_clients"
"""Beginning and end of the names of an epoch's figures."""

_TITLES = {
    "auroc": "AUROC",
    "brier": "Brier score",
    "f1": "F1",
    "macro_f1": "macro F1",
    "iou": "IoU",
    "mean_iou": "mean IoU",
    "dice": "Dice",
    "generalized_dice": "generalised Dice",
    "mae": "MAE",
    "mse": "MSE",
    "rmse": "RMSE",
    "r2": "R²",
    "kappa": "κ",
    "quadratic_kappa": "quadratic κ",
}
"""Titles that are not just the name with spaces."""

_SHARES = ("accuracy", "precision", "recall", "sensitivity", "specificity", "macro_f1", "f1", "exact_match", "coverage")
"""Ends of the names of scores that are shares of samples, and are written in percent."""

_LOWER = ("loss", "error", "mae", "mse", "rmse", "perplexity", "brier", "pinball", "hamming")
"""Ends of the names of scores of which less is better."""

_IN_UNIT = ("mae", "rmse", "max_error", "median_error", "pinball", "quantile_loss")
"""Scores in the unit of what was measured."""


@dataclass(frozen=True)
class ScoreStyle:
    """How one score is named and written.

    Parameters
    ----------
    name
        As in ``summary["test"]["scores"]``.
    higher_is_better
        Whether more of it is better.
    unit
        Of what was measured; empty where it has none, or it is unknown.
    """

    name: str = ACCURACY
    higher_is_better: bool = True
    unit: str = ""

    @property
    def title(self) -> str:
        """What people call it."""
        return _TITLES.get(self.name, self.name.replace("_", " "))

    @property
    def heading(self) -> str:
        """The title as the first words of a heading."""
        return self.title[:1].upper() + self.title[1:]

    @property
    def is_share(self) -> bool:
        """True if it is a share of samples, which is written in percent."""
        return self.name.endswith(_SHARES) and self.name != "average_precision"

    @property
    def scale(self) -> float:
        """By how much a value is multiplied where it is drawn or compared in its own unit: 100 for percent."""
        return 100.0 if self.is_share else 1.0

    @property
    def shown_unit(self) -> str:
        """Its unit as an axis shows it: %, that of the targets, or none."""
        return "%" if self.is_share else self.unit if self.name.endswith(_IN_UNIT) else ""

    @property
    def place(self) -> tuple[str, ...]:
        """Return the keys that lead to its mean over clients in a summary; runs of before tasks have accuracy alone."""
        return ("test", ACCURACY) if self.name == ACCURACY else ("test", "scores", self.name, "mean")

    @property
    def place_of_spread(self) -> tuple[str, ...]:
        """Return the keys that lead to its standard deviation over clients in a summary."""
        if self.name == ACCURACY:
            return ("test", f"{ACCURACY}{OVER_CLIENTS}")
        return ("test", "scores", self.name, OVER_CLIENTS.removeprefix("_"))

    @property
    def validation(self) -> str:
        """Its name in an epoch's record."""
        return f"{VALIDATION}{self.name}"

    @property
    def training(self) -> str:
        """Its name in an epoch's record, of the samples that were trained on."""
        return f"train_{self.name}"

    def write(self, value: float | None) -> str:
        """Write a value; a dash where there is none."""
        if self.is_share:
            return numbers.percent(value)
        text = _three_places(value)
        return f"{text} {self.shown_unit}" if self.shown_unit and text != numbers.NONE else text

    def spread(self, half: float | None) -> str:
        """Write half the width of an interval as ± that; nothing where there is none."""
        if self.is_share:
            return numbers.points(half)
        return "" if half is None or not math.isfinite(half) else f"± {numbers.plain(half, 2)}"

    def interval(self, low: float | None, high: float | None) -> str:
        """Write an interval; nothing where it is unknown."""
        if low is None or high is None:
            return ""
        if self.is_share:
            return f"{low * 100:.1f} to {numbers.percent(high)}"
        return f"{_three_places(low)} to {self.write(high)}"

    def best(self, values: Iterable[float]) -> float | None:
        """Return the best of some values; None without any."""
        return max(values, default=None) if self.higher_is_better else min(values, default=None)

    def worst(self, values: Iterable[float]) -> float | None:
        """Return the worst of some values; None without any."""
        return min(values, default=None) if self.higher_is_better else max(values, default=None)

    def rank(self, value: float) -> float:
        """Return a number that is greater for better values."""
        return value if self.higher_is_better else -value


def style(name: str, higher_is_better: bool | None = None, unit: str = "") -> ScoreStyle:
    """Return how a score is written; which direction is better follows from its name, if it is not told."""
    return ScoreStyle(name, not name.endswith(_LOWER) if higher_is_better is None else higher_is_better, unit)


def headline(test: Mapping[str, Any] | None, history: Sequence[Mapping[str, Any]] = ()) -> ScoreStyle:
    """Return the score that tells how good a run's network is.

    Parameters
    ----------
    test
        Of the run's summary; None or empty if the run isn't finished.
    history
        The records of its epochs, whose first validation score is taken where the summary tells none.
    """
    if test and "headline" in test:
        return style(str(test["headline"]), test.get("higher_is_better"), str(test.get("unit") or ""))
    if test and ACCURACY in test:
        return ScoreStyle()
    scored = next((row for row in history if any(name.startswith(VALIDATION) for name in row)), {})
    names = (name.removeprefix(VALIDATION) for name in scored if name.startswith(VALIDATION))
    found = next((name for name in names if name != "loss" and not name.endswith(OVER_CLIENTS)), ACCURACY)
    return style(found)


def headline_of_rows(rows: Sequence[Mapping[str, Any]]) -> ScoreStyle:
    """Return the headline of a study's rows, whose ``test`` holds its mean by name; rows that diverged tell none."""
    told = (row["test"] for row in rows if "headline" in row["test"])
    return headline(next(told, {ACCURACY: None}))


def test_score(test: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return the figures of a score as a `Score`; those of runs of before there were tasks, too."""
    scores = test.get("scores") or {}
    if name in scores:
        return dict(scores[name])
    known = {"mean": test.get(name), "std_over_clients": test.get(f"{name}{OVER_CLIENTS}")}
    return {**known, "low": None, "high": None, "pooled": None}


def validated(validation: Mapping[str, Any] | None, score: ScoreStyle) -> tuple[ScoreStyle, float, int] | None:
    """Return the best validation score that a summary tells, and its epoch counted from 1.

    It is the headline, ``score``, unless the run was told to choose its best epoch by another.
    """
    names = [name for name in validation or {} if name != "best_epoch"]
    if not validation or not names or validation[names[0]] is None:
        return None
    found = score if names[0] == score.name else style(names[0], unit=score.unit)
    return found, float(validation[found.name]), int(validation["best_epoch"])


def best_so_far(history: Sequence[Mapping[str, Any]], score: ScoreStyle) -> tuple[float, int] | None:
    """Return the best validation score of some epochs' records, and its epoch counted from 1; the first of equals."""
    rows = [row for row in history if math.isfinite(row.get(score.validation, math.nan))]
    best = max(rows, key=lambda row: score.rank(row[score.validation]), default=None)
    return None if best is None else (float(best[score.validation]), int(best["epoch"]))


def _three_places(value: float | None) -> str:
    """Write figures to three digits after the point, large ones to four in all, and very small ones to three in all."""
    if value is None or not math.isfinite(value) or not 0.001 <= abs(value) < 1000:
        return numbers.plain(value, 3) if value and abs(value) < 0.001 else numbers.plain(value)
    return numbers.decimal(value) if abs(value) < 9.9995 else f"{value:#.4g}"
