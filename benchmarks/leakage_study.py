"""Fold the leakage of many runs, measured by ``sglr leak``, into a table, paired differences and a plot.

The runs are those of a sweep (`leakage.toml`, `leakage_defences.toml`); see there for the commands.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from matplotlib.figure import Figure
from scipy.stats import t

from record import machine, write_result
from sglr.report.charts import blank_chart
from sglr.report.palette import GRID, SERIES
from sglr.report.svg import standalone_svg
from sglr.run import Run

DOCS = Path(__file__).parents[1] / "docs/results"

MEASURES = {
    "accuracy": "test accuracy, %",
    "cross_entropy": "decoder's cross-entropy",
    "mse": "decoder's MSE",
    "ssim": "decoder's SSIM",
    "distance_correlation": "distance correlation",
    "mutual_information": "mutual information, nats",
    "label_inference_accuracy": "labels from gradients, %",
    "probe": "labels by a probe, %",
    "label-direction": "labels by direction, %",
    "label-clusters": "labels by clusters, %",
    "membership": "membership, AUC",
    "unsplit": "UnSplit's MSE",
}
"""Columns, by name in the record; attacks are called as on the command line."""

Figures = dict[str, float]
Cells = dict[str, dict[int, Figures]]
"""Figures of every run, by configuration and seed."""


def figures_of(folder: Path) -> Figures:
    """Return what is known of one run."""
    leaked = json.loads((folder / "leakage.json").read_text(encoding="utf-8"))
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    measures = leaked.get("leakage", {})
    flat = {**measures, **measures.get("reconstruction", {})}
    found = {name: flat[name]["value"] for name in MEASURES if name in flat}
    found["accuracy"] = 100 * summary["test"]["accuracy"]
    for attack in leaked["attacks"]:
        if attack["attack"] in MEASURES:
            found[attack["attack"]] = attack["score"]["value"]
    return {
        name: 100 * value if "%" in MEASURES[name] and name != "accuracy" else value for name, value in found.items()
    }


def name_of(settings: Mapping[str, Any], study: str) -> str:
    """Call a configuration by what varies in the study."""
    if study == "defences":
        return "U-shape" if settings.get("tail") is not None else str(settings["defence"])
    if study == "labels":
        return f"{settings['method']}, {settings['defence']}"
    details = [f"φ = {settings['phi']:g}"] if "phi" in settings else []
    details += ["by class"] if settings.get("average") == "class" else []
    return " ".join([str(settings["method"]), *details])


def read(folder: Path, study: str) -> Cells:
    """Return the figures of all runs in ``folder`` that were measured."""
    cells: Cells = {}
    for path in sorted(folder.glob("*/leakage.json")):
        settings = Run.open(path.parent).settings
        cells.setdefault(name_of(settings, study), {})[settings["seed"]] = figures_of(path.parent)
    return dict(sorted(cells.items()))


def difference(cell: Mapping[int, Figures], base: Mapping[int, Figures], name: str) -> tuple[float, float] | None:
    """Return the mean difference to ``base``, paired by seed, and half the width of its 95 % t-interval."""
    pairs = [cell[seed][name] - base[seed][name] for seed in cell if name in cell[seed] and name in base.get(seed, {})]
    if len(pairs) < 2:
        return None
    return fmean(pairs), float(t.ppf(0.975, len(pairs) - 1)) * stdev(pairs) / math.sqrt(len(pairs))


def table(cells: Cells, base: str) -> str:
    """Return mean ± standard deviation over seeds as Markdown; bold where the paired interval leaves out zero."""
    shown = [name for name in MEASURES if any(name in one for runs in cells.values() for one in runs.values())]
    lines = [f"| | {' | '.join(MEASURES[name] for name in shown)} |", f"|---|{'---:|' * len(shown)}"]
    for title, cell in cells.items():
        row = [_cell(cell, cells[base], name) for name in shown]
        lines.append(f"| {title} | {' | '.join(row)} |")
    return "\n".join(lines)


def _cell(cell: Mapping[int, Figures], base: Mapping[int, Figures], name: str) -> str:
    values = [one[name] for one in cell.values() if name in one]
    if not values:
        return "–"
    text = f"{fmean(values):.3g}" + (f" ± {stdev(values):.1g}" if len(values) > 1 else "")
    apart = difference(cell, base, name)
    return f"**{text}**" if apart is not None and abs(apart[0]) > apart[1] > 0 else text


def frontier(cells: Cells) -> Figure:
    """Draw accuracy against the decoder's error: every run a point, every configuration its mean."""
    figure, axes = blank_chart(7.2, 4.2)
    for place, (title, cell) in enumerate(cells.items()):
        colour = SERIES[place % len(SERIES)].light
        points = [(one["mse"], one["accuracy"]) for one in cell.values() if "mse" in one]
        if not points:
            continue
        axes.scatter(*zip(*points, strict=True), color=colour, s=12, alpha=0.5)
        middle = tuple(fmean(one) for one in zip(*points, strict=True))
        axes.scatter(*middle, color=colour, s=48, marker="osD^vP"[place // len(SERIES) % 6])
        axes.annotate(title, middle, xytext=(6, 4), textcoords="offset points", fontsize=7.5)
    axes.set_xscale("log")
    axes.grid(color=GRID.light)
    axes.set_xlabel("decoder's mean squared error (further right leaks less)")
    axes.set_ylabel("test accuracy, %")
    return figure


def main(argv: Sequence[str] | None = None) -> None:
    """Read, print and, if asked, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study", choices=("phi", "defences", "labels"))
    parser.add_argument("cells", type=Path, help="the sweep's folder cells")
    parser.add_argument("--write", action="store_true", help="write the record and the plot")
    options = parser.parse_args(argv)
    cells = read(options.cells, options.study)
    base = {"phi": "slr", "defences": "none", "labels": "psl, none"}[options.study]
    if base not in cells:
        parser.error(f"no measured run of {base!r} in {options.cells}; run sglr leak first")
    print(table(cells, base))
    if options.write:
        write_result("leakage", f"{options.study}-cpu", {"machine": machine(), "cells": cells}, keep=True)
    if options.write and options.study != "labels":
        text = standalone_svg(frontier(cells), options.study, "accuracy against what a decoder reconstructs")
        (DOCS / f"leakage-{options.study}.svg").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
