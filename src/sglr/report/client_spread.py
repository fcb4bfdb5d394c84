"""A score of every client on one line: how fair a training is between sites."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sglr.report.charts import make_plain
from sglr.report.palette import INK, MUTED, SERIES, SURFACE
from sglr.report.score_style import ScoreStyle
from sglr.report.task_figures import MOST_CLIENTS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAMED = 16
"""Clients up to which each has a row of its own; the dots of more are heaped up where they are close."""

COLUMNS = 40
"""Places along the axis at which dots are heaped up."""


def spread_chart(
    values: Sequence[float | None], score: ScoreStyle, figures: Mapping[str, Any], *, wide: bool = False
) -> Figure:
    """Draw every client's score, with their mean and its interval.

    Parameters
    ----------
    values
        Of every client; None where a client has none.
    score
        Which score it is.
    figures
        Its `Score`.
    wide
        Whether it has the width of a page; else it stands beside another chart or on a phone.
    """
    known = [(client, value * score.scale) for client, value in _known(values)]
    rows = len(known) <= NAMED
    height = max(2.0, 0.24 * len(known) + 1.1) if rows else 2.2 if wide else 3.4
    figure, axes = _blank(8.2 if wide else 4.1, height)
    _draw_mean(axes, figures, score.scale)
    if rows:
        _draw_rows(axes, sorted(known, key=lambda one: one[1]))
    else:
        _draw_heaps(axes, [value for _, value in known])
    unit = f", {score.shown_unit}" if score.shown_unit else ""
    axes.set_xlabel(f"{score.title}{unit}", color=MUTED.light, fontsize=9)
    return figure


def spread_words(values: Sequence[float | None], score: ScoreStyle) -> str:
    """Say which clients are best and worst off, and how many have no score."""
    known = [(score.rank(value), client, value) for client, value in _known(values)]
    if not known:
        return ""
    (_, worst, low), (_, best, high) = min(known), max(known)
    if len(values) >= MOST_CLIENTS:  # those at evenly spaced ranks, without their numbers
        return f"Worst: {score.write(low)}; best: {score.write(high)}."
    without = len(values) - len(known)
    left_out = "" if not without else f" {without} of {len(values)} clients have no score."
    return f"Worst: client {worst} with {score.write(low)}; best: client {best} with {score.write(high)}.{left_out}"


def _known(values: Sequence[float | None]) -> list[tuple[int, float]]:
    """Return the clients that have a score, each with it."""
    return [(client, value) for client, value in enumerate(values) if value is not None and math.isfinite(value)]


def _blank(width: float, height: float) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    make_plain(axes)
    axes.grid(visible=False)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=12 if width > 5 else 6, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.4g}"))
    axes.margins(x=0.06)
    return figure, axes


def _draw_mean(axes: Axes, figures: Mapping[str, Any], scale: float) -> None:
    mean, low, high = (figures.get(name) for name in ("mean", "low", "high"))
    if low is not None and high is not None:
        axes.axvspan(low * scale, high * scale, color=SERIES[0].light, alpha=0.14, linewidth=0)
    if mean is not None:
        axes.axvline(mean * scale, color=INK.light, linewidth=1.2)


def _draw_rows(axes: Axes, ranked: Sequence[tuple[int, float]]) -> None:
    from sglr.report.palette import GRID

    places = range(len(ranked))
    axes.hlines(places, 0, 1, color=GRID.light, linewidth=0.8, transform=axes.get_yaxis_transform(), zorder=1)
    axes.plot([value for _, value in ranked], places, "o", color=SERIES[0].light, markersize=7, zorder=3)
    axes.set_yticks(list(places), [f"client {client}" for client, _ in ranked])
    axes.set_ylim(-0.7, max(0.7, len(ranked) - 0.3))


def _draw_heaps(axes: Axes, values: Sequence[float]) -> None:
    """Place dots that are close beside one another in columns around the middle line."""
    low, high = min(values), max(values)
    width = (high - low) / COLUMNS or 1.0
    heights: dict[int, int] = {}
    across, up = [], []
    for value in sorted(values):
        column = round((value - low) / width)
        rank = heights.get(column, 0)
        heights[column] = rank + 1
        across.append(value)
        up.append((rank + 1) // 2 * (1 if rank % 2 else -1))
    tallest = max(heights.values())
    size = min(6.5, 110.0 / tallest)
    axes.plot(across, up, "o", color=SERIES[0].light, markersize=size, markeredgecolor=SURFACE.light)
    axes.lines[-1].set_markeredgewidth(min(0.6, size / 8))
    axes.set_yticks([])
    axes.set_ylim(-tallest / 2 - 2, tallest / 2 + 2)
