"""The picture of a sweep: lines over a number that varies, a map of two, or a row of points where nothing else fits."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from sglr.report import numbers
from sglr.report.charts import make_plain
from sglr.report.page import written
from sglr.report.palette import GRID, MUTED, VALIDATION
from sglr.report.score_style import ScoreStyle
from sglr.report.series_chart import WIDE, read_series, series_chart

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Row = Mapping[str, Any]

FEWEST = 3
"""Values from which on a number is drawn as an axis."""
MOST_LINES = 7
"""Lines that can be told apart."""
MOST_POINTS = 40
"""Configurations that are drawn one below the other; of more, the best."""
MOST_TICKS = 8
METHOD = "method"


@dataclass(frozen=True)
class Lines:
    """A score over the setting ``axis``.

    Parameters
    ----------
    axis
        The setting.
    chart
        As `sglr.report.series_chart.series_chart` takes it.
    flat
        The series that have no value of that setting and are drawn from edge to edge.
    """

    axis: str
    chart: Mapping[str, Any]
    flat: frozenset[str]


def lines(rows: Sequence[Row], score: ScoreStyle) -> Lines | None:
    """Return the lines of a sweep over the number with most values; None where there is none, or too many lines."""
    axis = max(_numeric(rows), key=lambda key: len(_values(rows, key)), default=None)
    if axis is None or len(_values(rows, axis)) < FEWEST:
        return None
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(_others(row, axis) or f"test {score.title}", []).append(row)
    if len(groups) > MOST_LINES:
        return None
    places = sorted(_values(rows, axis))
    flat = frozenset(label for label, members in groups.items() if members[0]["values"][axis] is None)
    chart = {
        "x_title": axis,
        "y_title": f"test {score.title}{f', {score.shown_unit}' if score.shown_unit else ''}",
        "log_x": _spread_by_logarithm(places),
        "series": [
            _series(label, members, places if label in flat else None, axis, score) for label, members in groups.items()
        ],
    }
    return Lines(axis, chart, flat)


def lines_figure(found: Lines, size: tuple[float, float]) -> Figure:
    """Draw lines, with a mark at every value that was tried."""
    figure = series_chart(found.chart, size)
    axes = figure.axes[0]
    curves = [one for one in read_series(found.chart) if one.values]
    for one, line in zip(curves, axes.lines, strict=True):
        line.set_label(one.label)
        if one.label in found.flat:
            line.set_marker("none")
    places = sorted({place for one in curves for place in one.epochs})
    if len(places) <= MOST_TICKS:
        axes.set_xticks(places, labels=[numbers.short(place) for place in places])
    return figure


def heat_map(rows: Sequence[Row], score: ScoreStyle) -> dict[str, Any] | None:
    """Return a table over the two numbers that vary, shaded from the worst to the best; None where it is no such sweep.

    Returns
    -------
    dict or None
        ``row_title``, ``column_title``, ``columns``, ``rows`` with a name and cells (figure, spread, shade in [0, 1],
        best), and the figures of ``low`` and ``high``.
    """
    keys = list(rows[0]["values"])
    if len(keys) != 2 or _numeric(rows) != keys or any(None in row["values"].values() for row in rows):
        return None
    down, across = keys
    found = {(row["values"][down], row["values"][across]): row["test"] for row in rows}
    means = [mean for test in found.values() if (mean := test.get(score.name)) is not None]
    worst, best = (score.worst(means) or 0.0), (score.best(means) or 0.0)
    columns = sorted(_values(rows, across))
    return {
        "row_title": down,
        "column_title": across,
        "columns": [written(value) for value in columns],
        "rows": [
            {
                "name": written(value),
                "cells": [_shaded(found.get((value, other)), worst, best, score) for other in columns],
            }
            for value in sorted(_values(rows, down))
        ],
        "low": score.write(worst),
        "high": score.write(best),
    }


def points(rows: Sequence[Row], score: ScoreStyle) -> dict[str, Any]:
    """Return every configuration as a point on a common scale, its spread as a bar; of very many, the best.

    Returns
    -------
    dict
        ``rows`` with a label, the figure, and shares of the width in percent (``place``, ``start``, ``width``), None
        where all runs diverged; ``ticks`` with a share and its figure; ``left_out``, the number of those not shown.
    """
    ranked = sorted(rows, key=lambda row: _rank(row, score), reverse=True)
    best = {row["label"] for row in ranked[:MOST_POINTS]}
    shown = [row for row in rows if row["label"] in best]
    ends = [end for row in shown for end in _ends(row["test"], score)]
    ticks = _ticks(min(ends, default=0.0), max(ends, default=1.0))
    low, width = ticks[0], ticks[-1] - ticks[0]
    return {
        "rows": [_point(row, low, width, score) for row in shown],
        "ticks": [
            {"place": (tick - low) / width * 100, "figure": f"{tick * score.scale:.4g} {score.shown_unit}".strip()}
            for tick in ticks
        ],
        "left_out": len(rows) - len(shown),
    }


def points_figure(rows: Sequence[Row], score: ScoreStyle) -> Figure:
    """Draw every configuration as a point, one below the other, its spread over seeds as a bar; of many, the best."""
    from matplotlib.figure import Figure

    best = {row["label"] for row in sorted(rows, key=lambda row: _rank(row, score), reverse=True)[:MOST_POINTS]}
    shown = [row for row in rows if row["label"] in best and row["test"].get(score.name) is not None][::-1]
    figure = Figure(figsize=(WIDE[0], 1.0 + 0.28 * len(shown)), layout="constrained")
    axes = figure.add_subplot()
    make_plain(axes)
    axes.grid(axis="x", color=GRID.light, linewidth=0.8)
    figures, spreads = ([row["test"].get(key) or 0.0 for row in shown] for key in (score.name, f"{score.name}_sd"))
    values, halves = ([each * score.scale for each in some] for some in (figures, spreads))
    axes.errorbar(values, range(len(shown)), xerr=halves, fmt="o", color=VALIDATION.light, markersize=5)
    axes.set_yticks(range(len(shown)), labels=[row["label"] for row in shown])
    axes.set_xlabel(f"test {score.title}{f', {score.shown_unit}' if score.shown_unit else ''}", color=MUTED.light)
    return figure


def _numeric(rows: Sequence[Row]) -> list[str]:
    """Return the settings whose values are all numbers."""
    return [key for key in rows[0]["values"] if all(_is_number(value) for value in _values(rows, key))]


def _values(rows: Sequence[Row], key: str) -> list[Any]:
    return list(dict.fromkeys(row["values"][key] for row in rows if row["values"][key] is not None))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _others(row: Row, axis: str) -> str:
    """Name what a row has in common with the others of its line."""
    rest = {key: value for key, value in row["values"].items() if key != axis and value is not None}
    shown = [written(value) if key == METHOD else f"{key}={written(value)}" for key, value in rest.items()]
    return row["name"] or ", ".join(shown)


def _series(
    label: str, rows: Sequence[Row], edges: Sequence[float] | None, axis: str, score: ScoreStyle
) -> dict[str, Any]:
    ordered = sorted(rows, key=lambda row: row["values"][axis] or 0.0)
    if edges is not None:
        ordered = [ordered[0], ordered[0]]
    return {
        "label": label,
        "x": [edges[0], edges[-1]] if edges is not None else [row["values"][axis] for row in ordered],
        "y": [_scaled(row["test"].get(score.name), score) for row in ordered],
        "spread": [_scaled(row["test"].get(f"{score.name}_sd"), score) for row in ordered],
    }


def _scaled(value: float | None, score: ScoreStyle) -> float | None:
    return None if value is None else value * score.scale


def _rank(row: Row, score: ScoreStyle) -> float:
    mean = row["test"].get(score.name)
    return -math.inf if mean is None else score.rank(mean)


def _spread_by_logarithm(places: Sequence[float]) -> bool:
    """Tell whether the two closest values lie further apart on a logarithmic scale."""
    if min(places) <= 0:
        return False
    logarithms = [math.log(place) for place in places]
    return _closest(logarithms) > _closest(places)


def _closest(places: Sequence[float]) -> float:
    return min(after - before for before, after in pairwise(places)) / (places[-1] - places[0])


def _shaded(test: Mapping[str, Any] | None, worst: float, best: float, score: ScoreStyle) -> dict[str, Any]:
    if test is None or test.get(score.name) is None:
        return {"figure": numbers.NONE if test is None else "diverged", "spread": "", "shade": 0.0, "best": False}
    mean = test[score.name]
    return {
        "figure": score.write(mean),
        "spread": score.spread(test.get(f"{score.name}_sd")),
        "shade": round((mean - worst) / (best - worst), 3) if best != worst else 0.0,
        "best": mean == best != worst,
    }


def _ends(test: Mapping[str, Any], score: ScoreStyle) -> list[float]:
    mean = test.get(score.name)
    if mean is None:
        return []
    half = test.get(f"{score.name}_sd") or 0.0
    ends = [mean - half, mean + half]
    return [max(0.0, ends[0]), min(1.0, ends[1])] if score.is_share else ends


def _ticks(low: float, high: float) -> list[float]:
    """Return round figures from below the lowest to above the highest, no more than six."""
    power = 10.0 ** math.floor(math.log10(max(high - low, 0.002 * max(1.0, abs(high)))) - 1)
    for step in (power * size for size in (1, 2, 5, 10, 20, 50)):
        first = math.floor(low / step + 1e-9)
        last = max(math.ceil(high / step - 1e-9), first + 1)
        if last - first <= 5:
            break
    return [number * step for number in range(first, last + 1)]


def _point(row: Row, low: float, width: float, score: ScoreStyle) -> dict[str, Any]:
    test, ends = row["test"], _ends(row["test"], score)
    if not ends:
        return {"label": row["label"], "figure": "diverged", "place": None}
    return {
        "label": row["label"],
        "figure": f"{score.write(test[score.name])} {score.spread(test.get(f'{score.name}_sd'))}".strip(),
        "place": (test[score.name] - low) / width * 100,
        "start": (ends[0] - low) / width * 100,
        "width": (ends[1] - ends[0]) / width * 100,
    }
