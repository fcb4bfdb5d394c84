"""Draw the study of leakage: measures against φ, and accuracy against leakage, into ``docs/results``."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from record import RESULTS
from sglr.report.charts import blank_chart, make_plain
from sglr.report.palette import GRID, INK, MUTED, SERIES
from sglr.report.svg import standalone_svg

DOCS = Path(__file__).parents[1] / "docs/results"

PANELS = {
    "accuracy": "test accuracy, %",
    "mse": "decoder's mean squared error",
    "distance_correlation": "distance correlation",
    "mutual_information": "mutual information, nats",
    "label_inference_accuracy": "labels from gradients, %",
    "membership": "membership, AUC",
}
TICKS = (0.003, 0.0035, 0.004, 0.0045, 0.005, 0.007, 0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15)
MARKERS = "osD^vPX*"

FAMILIES = (
    (re.compile(r"sglr φ = ([\d.]+) by class"), "SGLR, averages by class: φ"),
    (re.compile(r"sglr φ = ([\d.]+)"), "SGLR, averages by position: φ"),
    (re.compile(r"clip:norm=5\+noise:sigma=([\d.]+)"), "clip and noise: σ"),
    (re.compile(r"nopeek:weight=([\d.]+)"), "NoPeek: weight"),
    (re.compile(r"quantize:bits=(\d+)"), "quantize: bits"),
    (re.compile(r"marvell:power=(\d+)"), "Marvell: power"),
)
"""Configurations that differ in one number, which is drawn beside the point."""

NAMES = {"none": "no defence", "max-norm": "max-norm", "psl": "PSL", "sfl": "SplitFed", "slr": "SplitLr alone, φ = 0"}

Figures = Mapping[str, Mapping[str, float]]
"""Figures of one configuration, by seed."""


def family(title: str) -> tuple[str, str]:
    """Return what a configuration belongs to, and its number there, if any."""
    for pattern, name in FAMILIES:
        if found := pattern.fullmatch(title):
            return name, found[1].removesuffix(".0")
    return NAMES.get(title, title), ""


def families(cells: Mapping[str, Figures]) -> dict[str, dict[str, Figures]]:
    """Group configurations by family, then by number."""
    groups: dict[str, dict[str, Figures]] = {}
    for title, cell in cells.items():
        name, number = family(title)
        groups.setdefault(name, {})[number] = cell
    return {name: dict(sorted(group.items(), key=lambda item: float(item[0] or 0))) for name, group in groups.items()}


def middle(cell: Figures, name: str) -> tuple[float, float]:
    """Return mean and standard deviation over seeds."""
    values = [one[name] for one in cell.values() if name in one]
    return fmean(values), stdev(values)


def means(cell: Figures) -> tuple[float, float]:
    """Return a configuration's place in the plot of accuracy against leakage."""
    return middle(cell, "mse")[0], middle(cell, "accuracy")[0]


def against_phi(cells: Mapping[str, Figures]) -> Figure:
    """Draw each measure against φ; every seed is a faint point."""
    figure, groups = Figure(figsize=(7.4, 4.6), layout="constrained"), families(cells)
    for place, (name, title) in enumerate(PANELS.items()):
        axes = figure.add_subplot(2, 3, place + 1)
        make_plain(axes)
        axes.set_title(title, fontsize=9, color=INK.light, loc="left")
        for number, rule in enumerate(("by position", "by class")):
            curve = {0.0: cells["slr"]} | {
                float(value): cell for value, cell in groups[f"SGLR, averages {rule}: φ"].items()
            }
            paint = SERIES[number].light
            for phi, cell in curve.items():
                axes.plot([phi] * len(cell), [one[name] for one in cell.values()], "o", ms=3, alpha=0.35, color=paint)
            heights = [middle(cell, name)[0] for cell in curve.values()]
            axes.plot(list(curve), heights, marker="os"[number], ms=5, color=paint, label=f"averages {rule}")
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "¼", "½", "¾", "1"])
        if place > 2:
            axes.set_xlabel("φ", color=MUTED.light, fontsize=9)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    return figure


def frontier(cells: Mapping[str, Figures]) -> Figure:
    """Draw accuracy against the decoder's error, with standard deviations over seeds; further right leaks less."""
    figure, axes = blank_chart(7.4, 4.6)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(TICKS))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.grid(axis="x", color=GRID.light, linewidth=0.8)
    groups = families(cells)
    for place, (name, group) in enumerate(groups.items()):
        paint, marker = SERIES[place % len(SERIES)].light, MARKERS[place % len(MARKERS)]
        points = [(*middle(cell, "mse"), *middle(cell, "accuracy")) for cell in group.values()]
        x, spread_x, y, spread_y = zip(*points, strict=True)
        style = {"marker": marker, "ms": 6, "elinewidth": 0.9, "color": paint, "lw": 1.2 if len(points) > 1 else 0}
        axes.errorbar(x, y, spread_y, spread_x, **style, label=name)
        others = [means(cell) for one, each in groups.items() if one != name for cell in each.values()]
        for number, (left, _, up, _) in zip(group, points, strict=True):
            if not any(abs(math.log(left / x)) < 0.02 and abs(up - y) < 1 for x, y in others):
                axes.annotate(number, (left, up), xytext=(5, 5), textcoords="offset points", fontsize=8, color=paint)
    guess = fmean(one["baseline_mse"] for cell in cells.values() for one in cell.values())
    if guess < axes.get_xlim()[1]:
        axes.axvline(guess, color=MUTED.light, linewidth=1, linestyle=(0, (4, 3)), label="the mean image, a guess")
    axes.set_xlabel("decoder's mean squared error: further right leaks less", color=MUTED.light, fontsize=9)
    axes.set_ylabel("test accuracy, %", color=MUTED.light, fontsize=9)
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=8.5)
    return figure


def read(study: str) -> dict[str, Any]:
    """Return the figures of a study, as ``leakage_study.py`` wrote them."""
    cells: dict[str, Any] = json.loads((RESULTS / f"leakage-{study}-cpu.json").read_text(encoding="utf-8"))["cells"]
    return cells


def main() -> None:
    """Draw all of it."""
    drawn = {
        "leakage-phi": (against_phi(read("phi")), "leakage against φ, averages by position and by class"),
        "leakage-phi-frontier": (frontier(read("phi")), "accuracy against what a decoder reconstructs, by method"),
        "leakage-defences": (frontier(read("defences")), "accuracy against what a decoder reconstructs, by defence"),
    }
    for name, (figure, description) in drawn.items():
        (DOCS / f"{name}.svg").write_text(standalone_svg(figure, name, description), encoding="utf-8")


if __name__ == "__main__":
    main()
