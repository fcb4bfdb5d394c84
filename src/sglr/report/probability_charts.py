"""How good predicted probabilities are: a ROC curve, and how often they came true."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from sglr.report.charts import make_plain
from sglr.report.palette import INK, MUTED, SERIES, SURFACE, colour, dashes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SQUARE = (4.1, 3.7)
"""Inches: the axes are about square beside their labels."""

LONGEST = 18
"""Characters of a name in a key."""

LARGEST_DOT, SMALLEST_DOT = 110.0, 22.0
"""Areas of dots in square points: the largest stands for the fullest bin."""


def roc_chart(
    several: Sequence[Mapping[str, Any]], remark: str = "", chosen: tuple[float, float] | None = None
) -> Figure:
    """Draw ROC curves.

    Parameters
    ----------
    several
        One `Roc`, or several that have names.
    remark
        What is written below a single curve, such as its area.
    chosen
        False and true positive rate at the threshold in use, which is marked.
    """
    figure, axes = _square("false positive rate", "true positive rate")
    for number, roc in enumerate(several):
        across, up = list(roc["false_positive_rate"]), list(roc["true_positive_rate"])
        if len(several) == 1:
            axes.fill_between(across, up, color=SERIES[0].light, alpha=0.1, linewidth=0)
        _draw_line(axes, number, across, up, roc)
    _name_lines(axes, several, "lower right")
    if chosen is not None:
        paint = SERIES[0].light
        axes.plot(*chosen, "o", markersize=9, color=paint, markeredgecolor=SURFACE.light, markeredgewidth=1.8)
    if remark:
        axes.text(0.97, 0.05, remark, ha="right", va="bottom", fontsize=9, color=INK.light)
    return figure


def reliability_chart(several: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw how often what was predicted with a confidence came true, from one `Reliability` or several.

    A dot's area is the bin's number of samples.
    """
    figure, axes = _square("predicted probability", "share that came true")
    for number, reliability in enumerate(several):
        _draw_bins(axes, number, reliability)
    _name_lines(axes, several, "upper left")
    return figure


def _draw_bins(axes: Axes, number: int, reliability: Mapping[str, Any]) -> None:
    bins = zip(reliability["confidence"], reliability["frequency"], reliability["count"], strict=True)
    full = [(confidence, frequency, count) for confidence, frequency, count in bins if count and confidence is not None]
    if not full:
        return
    across, up, counts = zip(*full, strict=True)
    areas = [max(SMALLEST_DOT, LARGEST_DOT * count / max(counts)) for count in counts]
    _draw_line(axes, number, across, up, reliability)
    axes.scatter(across, up, s=areas, color=colour(number).light, edgecolors=SURFACE.light, linewidths=1.2, zorder=3)


def _draw_line(axes: Axes, number: int, across: Sequence[float], up: Sequence[float], named: Mapping[str, Any]) -> None:
    line = axes.plot(across, up, color=colour(number).light, linewidth=1.6, label=_short(str(named.get("name", ""))))[0]
    if dashes(number):
        line.set_linestyle((0, dashes(number)))


def _name_lines(axes: Axes, several: Sequence[Mapping[str, Any]], place: Literal["lower right", "upper left"]) -> None:
    if len(several) > 1:
        axes.legend(loc=place, frameon=False, fontsize=8, labelcolor=INK.light, handlelength=2.2)


def _short(name: str) -> str:
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"


def _square(across: str, up: str) -> tuple[Figure, Axes]:
    """Return axes of shares, both from 0 to 1, with the diagonal of guessing, or of perfect calibration."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=SQUARE, layout="constrained")
    axes = figure.add_subplot()
    make_plain(axes)
    axes.plot([0, 1], [0, 1], color=MUTED.light, linewidth=0.9, linestyle=(0, (3, 3)), zorder=1)
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.04)
    ticks = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_xlabel(across, color=MUTED.light, fontsize=9)
    axes.set_ylabel(up, color=MUTED.light, fontsize=9)
    return figure, axes
