"""Draw the validation accuracy over the epochs of the paper's length, for light and dark."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, stdev
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from paper_length_figures import INDEPENDENT, LongRun
from sglr.report.charts import make_plain
from sglr.report.palette import INK, MUTED, SERIES
from sglr.report.svg import standalone_svg
from which_method_figures import Rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PAINTS = {"sglr": SERIES[0], "sfl": SERIES[1], "psl": SERIES[2], "sgl": SERIES[3], "slr": SERIES[4], "fl": SERIES[5]}
"""Colours of methods; the rest is grey."""


def chart(found: Rows, grid: str, title: str) -> str:
    """Return the chart of a grid as the text of an SVG file."""
    return standalone_svg(draw(found, grid), f"paper-length-{grid}", f"validation accuracy over epochs, {title}")


def draw(found: Rows, grid: str) -> Figure:
    """Draw the methods whose clients begin alike, and beside them those whose clients begin apart."""
    figure = Figure(figsize=(7.6, 3.5), layout="constrained")
    panels = figure.subplots(1, 2, sharex=True, sharey=True)
    rows = [(method, _runs(row.cells)) for (of, _, method), row in found.items() if of == grid]
    for axes, apart in zip(panels, (False, True), strict=True):
        make_plain(axes)
        title = "first weights of their own, as in the paper" if apart else "first weights in common"
        axes.set_title(title, loc="left", fontsize=9, color=INK.light)
        own = [(method, runs) for method, runs in rows if runs and (runs[0].start == INDEPENDENT) == apart]
        for method, runs in own:
            _draw_runs(axes, method, runs)
        axes.set_xlabel("epoch", fontsize=9, color=MUTED.light)
        if own:
            axes.legend(frameon=False, fontsize=8, labelcolor=INK.light, loc="lower right")
        else:
            axes.text(0.5, 0.5, "not run yet", transform=axes.transAxes, ha="center", color=MUTED.light, fontsize=9)
    panels[0].set_ylabel("validation accuracy, %", fontsize=9, color=MUTED.light)
    return figure


def _runs(cells: Sequence[object]) -> list[LongRun]:
    return [one for one in cells if isinstance(one, LongRun) and one.curve]


def _draw_runs(axes: Axes, method: str, runs: Sequence[LongRun]) -> None:
    """Draw the mean over seeds, and a band of one standard deviation where there are several."""
    name = method.partition(":")[0]
    paint = PAINTS.get(name, MUTED).light
    epochs = [point[0] for point in runs[0].curve]
    every = [[run.curve[place][2] for run in runs if len(run.curve) > place] for place in range(len(epochs))]
    means = [fmean(values) for values in every]
    seeds = "1 seed" if len(runs) == 1 else f"{len(runs)} seeds"
    axes.plot(epochs, means, color=paint, linewidth=1.7, label=f"{name}, {seeds}")
    if len(runs) > 1:
        halves = [stdev(values) if len(values) > 1 else 0.0 for values in every]
        low, high = ([mean + way * half for mean, half in zip(means, halves, strict=True)] for way in (-1, 1))
        axes.fill_between(epochs, low, high, color=paint, alpha=0.14, linewidth=0)
