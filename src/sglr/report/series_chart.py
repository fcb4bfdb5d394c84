"""A chart of any quantity over any other, as a reproduction's record describes it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sglr.report import numbers
from sglr.report.charts import Curve, blank_chart, draw_curves
from sglr.report.palette import GRID, MUTED

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

SMALL, WIDE = (4.1, 3.0), (8.2, 3.4)
"""Inches of a chart that stands beside another or on a phone, and of one that has a page's width."""


def series_chart(chart: Mapping[str, Any], size: tuple[float, float] = SMALL) -> Figure:
    """Draw the series of a chart; which line is which is told by a key beside it.

    Parameters
    ----------
    chart
        ``x_title``, ``y_title``, ``log_x``, ``log_y`` and ``series``, each with ``label``, ``x``, ``y`` and half the
        width of its band, ``spread``, or None. What is no number is left out.
    size
        Width and height in inches.
    """
    figure, axes = blank_chart(*size)
    curves = read_series(chart)
    draw_curves(axes, curves)
    axes.set_xlabel(str(chart["x_title"]))
    axes.set_ylabel(str(chart["y_title"]), color=MUTED.light, fontsize=9)
    _scale(axes, curves, bool(chart.get("log_x")), bool(chart.get("log_y")))
    return figure


def read_series(chart: Mapping[str, Any]) -> list[Curve]:
    """Return the series, each without the points that are no numbers, or that a logarithm does not take."""
    return [_read(one, bool(chart.get("log_x")), bool(chart.get("log_y"))) for one in chart["series"]]


def _read(series: Mapping[str, Any], log_x: bool, log_y: bool) -> Curve:
    spread = series.get("spread") or [0.0] * len(series["x"])
    points = [
        (float(x), float(y), float(half or 0.0))
        for x, y, half in zip(series["x"], series["y"], spread, strict=True)
        if _drawable(x, log_x) and _drawable(y, log_y)
    ]
    widths = tuple(half for _, _, half in points)
    xs, ys = tuple(x for x, _, _ in points), tuple(y for _, y, _ in points)
    return Curve(str(series["label"]), xs, ys, widths if any(widths) else ())


def _drawable(value: float | None, logarithmic: bool) -> bool:
    return value is not None and math.isfinite(value) and (value > 0 or not logarithmic)


def _scale(axes: Axes, curves: Sequence[Curve], log_x: bool, log_y: bool) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    places = [place for one in curves for place in one.epochs]
    if log_x:
        axes.set_xscale("log")
        _name_decades(axes.xaxis)
        if places:
            margin = max(max(places) / min(places), 1.5) ** 0.03
            axes.set_xlim(min(places) / margin, max(places) * margin)
    else:
        whole = all(place == round(place) for place in places)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=8, steps=[1, 2, 5, 10], integer=whole, min_n_ticks=1))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: numbers.short(value)))
    if not log_y:
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: numbers.short(value)))
    else:
        axes.set_yscale("log")
        _name_decades(axes.yaxis)
        lows = [value for one in curves for value in one.values]
        if lows:  # a band that reaches zero has no lower end here
            axes.set_ylim(bottom=max(axes.get_ylim()[0], min(lows) / 3))
        axes.grid(axis="y", color=GRID.light, linewidth=0.8)


def _name_decades(axis: Axis) -> None:
    """Label a logarithmic axis in plain text, since formulas are not set in pages; within few decades also 2 and 5."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    low, high = axis.get_view_interval()
    steps = (1.0,) if high / low > 1000 else (1.0, 2.0, 5.0)
    axis.set_major_locator(LogLocator(subs=steps, numticks=8))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: numbers.short(value)))
