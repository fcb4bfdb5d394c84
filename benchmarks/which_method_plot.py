"""Draw accuracy against bytes, a panel for each division, for light and dark."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from matplotlib.figure import Figure
from matplotlib.transforms import offset_copy

from sglr.report.charts import make_plain
from sglr.report.palette import INK, MUTED, SERIES
from sglr.report.svg import standalone_svg
from which_method_figures import KEPT, SHARED, Rows, best

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PAINTS = {KEPT: SERIES[0], SHARED: SERIES[1]}
NAMES = {KEPT: "client weights stay", SHARED: "client weights shared"}
MARKS = {KEPT: "o", SHARED: "s"}

ASIDE = 4
"""How far marks are beside where they belong, in points."""

IDLE = "sglr2:gamma=9"
"""The method whose clients never learn."""

Point = tuple[float, float, str]
"""Megabytes, accuracy, method."""


def chart(found: Rows, data: str, titles: Mapping[str, str], title: str) -> str:
    """Return the chart of a data set as the text of an SVG file."""
    return standalone_svg(draw(found, data, titles), f"which-method-{data}", f"accuracy against bytes sent, {title}")


def draw(found: Rows, data: str, titles: Mapping[str, str]) -> Figure:
    """Draw a panel for each division."""
    divisions = [name for name in titles if any((of, where) == (data, name) for of, where, _ in found)]
    rows = -(-len(divisions) // 2)
    figure = Figure(figsize=(7.6, 0.4 + 2.7 * rows), layout="constrained")
    panels = figure.subplots(rows, min(2, len(divisions)), squeeze=False).ravel()
    for place, axes in enumerate(panels):
        if place < len(divisions):
            _panel(axes, found, data, divisions[place], titles[divisions[place]])
        else:
            axes.set_axis_off()
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=3, frameon=False, fontsize=9, labelcolor=INK.light)
    return figure


def _panel(axes: Axes, found: Rows, data: str, division: str, title: str) -> None:
    make_plain(axes)
    axes.set_title("\n".join([title, *_best(found, data, division)]), loc="left", fontsize=8, color=INK.light)
    for weights, paint in PAINTS.items():
        points = _points(found, data, division, weights)
        across, up = [point[0] for point in points], [point[1] for point in points]
        # Side by side, since most methods send equally much.
        aside = offset_copy(axes.transData, axes.figure, -ASIDE if weights == KEPT else ASIDE, units="points")
        points_of = {"color": paint.light, "markersize": 4.5, "label": NAMES[weights], "transform": aside}
        axes.plot(across, up, MARKS[weights], **points_of)
        axes.update_datalim([*zip(across, up, strict=True)])
    idle = found.get((data, division, IDLE))
    if idle is not None:
        level = idle.mean("accuracy") or 0.0
        axes.axhline(level, color=MUTED.light, linestyle="--", linewidth=0.9, label="clients that never learn")
    axes.autoscale_view()
    axes.set_xlabel("sent, MB", fontsize=9, color=MUTED.light)
    axes.set_ylabel("test accuracy, %", fontsize=9, color=MUTED.light)


def _best(found: Rows, data: str, division: str) -> Iterator[str]:
    """Yield the best method of each class, and how good it is."""
    for weights in PAINTS:
        first = best(found, data, division, weights)
        if first is not None:
            yield f"{'stay' if weights == KEPT else weights}: {first[0]}, {first[1].mean('accuracy') or 0.0:.1f}"


def _points(found: Rows, data: str, division: str, weights: str) -> Sequence[Point]:
    return [
        ((row.mean("sent") or 0.0) / 1e6, row.mean("accuracy") or 0.0, method)
        for (of, where, method), row in found.items()
        if (of, where) == (data, division) and row.weights == weights
    ]
