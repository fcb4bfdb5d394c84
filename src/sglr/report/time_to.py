"""Scores against modelled time: when a run reached a score, and the charts of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

from sglr.report import numbers
from sglr.report.charts import Curve, Records, blank_chart, draw_curves, show_score
from sglr.report.comparison_chart import mean_curve, name_ends
from sglr.report.palette import MUTED
from sglr.report.score_style import ScoreStyle

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MODELLED = "modelled_seconds"
"""Seconds on simulated clocks since a training began, in an epoch's record."""


def seconds_to(history: Records, score: ScoreStyle, target: float) -> float | None:
    """Return the modelled seconds after which a run's validation had reached a score; None if it never had.

    Validations are at the ends of epochs, so that it is the end of the first epoch that is good enough.
    """
    wanted = score.rank(target)
    reached = (
        float(row[MODELLED])
        for row in history
        if MODELLED in row and _is_scored(row, score) and _rank(row, score) >= wanted
    )
    return next(reached, None)


def reached_by_all(histories: Sequence[Records], score: ScoreStyle) -> float | None:
    """Return the best score that every run reached on simulated clocks; None where a run has none."""
    best = [
        max((_rank(row, score) for row in history if MODELLED in row and _is_scored(row, score)), default=math.nan)
        for history in histories
    ]
    worst = min(best, default=math.nan) if not any(map(math.isnan, best)) else math.nan
    if math.isnan(worst):
        return None
    return worst if score.higher_is_better else -worst


def mean_seconds_to(histories: Sequence[Records], score: ScoreStyle, target: float) -> float | None:
    """Return the mean over runs of `seconds_to`; None if one of them never reached it."""
    found = [seconds_to(history, score, target) for history in histories]
    known = [seconds for seconds in found if seconds is not None]
    return fmean(known) if found and len(known) == len(found) else None


def _is_scored(row: Mapping[str, Any], score: ScoreStyle) -> bool:
    return math.isfinite(row.get(score.validation, math.nan))


def _rank(row: Mapping[str, Any], score: ScoreStyle) -> float:
    return score.rank(float(row[score.validation]))


def time_curve(label: str, histories: Sequence[Records], key: str) -> Curve:
    """Average a measurement over runs, epoch by epoch, against the mean of their modelled seconds."""
    clocked = [[row for row in history if MODELLED in row] for history in histories]
    values, seconds = mean_curve(label, clocked, key), mean_curve(label, clocked, MODELLED)
    at = dict(zip(seconds.epochs, seconds.values, strict=True))
    return Curve(label, tuple(at[epoch] for epoch in values.epochs), values.values, values.spread)


def time_chart(history: Records, score: ScoreStyle) -> Figure:
    """Draw a run's score against modelled time."""
    figure, axes = blank_chart()
    key = score.validation if any(score.validation in row for row in history) else score.training
    draw_curves(axes, [time_curve("", [history], key)])
    _show_time(axes)
    show_score(axes, score)
    return figure


def times_chart(curves: Sequence[Curve], score: ScoreStyle, *, named: bool) -> Figure:
    """Draw the scores of several methods against modelled time; on a wide chart each curve is named at its end."""
    figure, axes = blank_chart(8.2, 4.2) if named else blank_chart(4.1, 3.4)
    draw_curves(axes, curves)
    _show_time(axes)
    show_score(axes, score)
    if named:
        name_ends(axes, curves)
    return figure


def _show_time(axes: Axes) -> None:
    """Write times along the foot, from the beginning of the training."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axes.set_xlim(left=0.0)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 3, 5, 6, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: numbers.clock(value) if value else "0"))
    axes.set_xlabel("modelled time", color=MUTED.light, fontsize=9)
