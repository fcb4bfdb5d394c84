"""The plot of a comparison: the validation score over epochs, one line per method, named at its end."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

from sglr.report.charts import Curve, blank_chart, draw_curves, show_score
from sglr.report.palette import INK, colour
from sglr.report.score_style import ScoreStyle

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LONGEST = 36  # characters of a label at a line's end
FONT = 9.0


def mean_curve(label: str, histories: Sequence[Sequence[Mapping[str, Any]]], key: str) -> Curve:
    """Average a measurement over runs, epoch by epoch; the spread is one standard deviation (n - 1) over runs.

    Runs may end at different epochs: those of which a run has no measurement are left out, since the mean would leap
    where another run drops out.
    """
    values: dict[int, list[float]] = {}
    for record in (record for history in histories for record in history):
        if math.isfinite(record.get(key, math.nan)):
            values.setdefault(int(record["epoch"]), []).append(float(record[key]))
    epochs = tuple(sorted(epoch for epoch, found in values.items() if len(found) == len(histories)))
    spread = tuple(stdev(values[epoch]) if len(values[epoch]) > 1 else 0.0 for epoch in epochs)
    means = tuple(fmean(values[epoch]) for epoch in epochs)
    return Curve(label, epochs, means, spread if any(spread) else ())


def comparison_chart(curves: Sequence[Curve], score: ScoreStyle, *, named: bool) -> Figure:
    """Draw a score over epochs.

    Parameters
    ----------
    curves
        One for each method, in the order of their colours.
    score
        What they are.
    named
        Write each curve's label at its end, on a wide chart; else leave a small one to be read with a key beside it.
    """
    figure, axes = blank_chart(8.2, 4.2) if named else blank_chart(4.1, 3.4)
    draw_curves(axes, curves)
    show_score(axes, score)
    if named:
        name_ends(axes, curves)
    return figure


def spaced(places: Sequence[float], gap: float) -> list[float]:
    """Move places apart to at least ``gap``, in their order, each as little as its neighbours allow.

    The places of a crowd are centred on its mean.
    """
    order = sorted(range(len(places)), key=lambda index: places[index])
    crowds: list[list[int]] = []
    for index in order:
        crowds.append([index])
        while len(crowds) > 1 and _start(crowds[-1], places, gap) < _end(crowds[-2], places, gap) + gap:
            last = crowds.pop()
            crowds[-1] += last
    moved = list(places)
    for crowd in crowds:
        for rank, index in enumerate(crowd):
            moved[index] = _start(crowd, places, gap) + rank * gap
    return moved


def _start(crowd: Sequence[int], places: Sequence[float], gap: float) -> float:
    return fmean(places[index] for index in crowd) - gap * (len(crowd) - 1) / 2


def _end(crowd: Sequence[int], places: Sequence[float], gap: float) -> float:
    return _start(crowd, places, gap) + gap * (len(crowd) - 1)


def name_ends(axes: Axes, curves: Sequence[Curve], longest: int = LONGEST) -> None:
    """Write each curve's label beside the chart, with a line to the curve's end."""
    drawn = [(number, one) for number, one in enumerate(curves) if one.values]
    low, high = axes.get_ylim()
    height = axes.get_window_extent().height / axes.figure.dpi * 72
    ends = [(one.values[-1] - low) / (high - low) for _, one in drawn]
    for (number, one), place in zip(drawn, spaced(ends, FONT * 1.4 / height), strict=True):
        label = one.label if len(one.label) <= longest else one.label[: longest - 1] + "…"
        axes.annotate(
            label,
            (one.epochs[-1], one.values[-1]),
            xytext=(1.05, place),
            textcoords="axes fraction",
            ha="left",
            va="center",
            fontsize=FONT,
            color=INK.light,
            arrowprops={
                "arrowstyle": "-",
                "color": colour(number).light,
                "linewidth": 1.0,
                "relpos": (0, 0.5),
                "shrinkA": 1,
                "shrinkB": 4,
            },
        )
