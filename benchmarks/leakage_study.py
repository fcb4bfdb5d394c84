"""Fold the leakage of many runs, measured by ``sglr leak``, into a table and one of paired differences.

The runs are those of a sweep; `leakage.toml`, `leakage_defences.toml` and `leakage_labels.toml` say the commands.
`plot_leakage.py` draws what is written here.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from scipy.stats import t

from record import machine, write_result
from sglr.runs.folder import Run

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
    if "baseline_mse" in flat:
        found["baseline_mse"] = flat["baseline_mse"]["value"]
    found["accuracy"] = 100 * summary["test"]["accuracy"]
    for attack in leaked["attacks"]:
        if attack["attack"] in MEASURES:
            found[attack["attack"]] = attack["score"]["value"]
    return {
        name: 100 * value if "%" in MEASURES.get(name, "") and name != "accuracy" else value
        for name, value in found.items()
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


def absolute(cell: Mapping[int, Figures], name: str) -> str:
    """Return mean ± standard deviation over seeds."""
    values = [one[name] for one in cell.values() if name in one]
    if not values:
        return "–"
    return f"{fmean(values):.3g}" + (f" ± {_spread(stdev(values))}" if len(values) > 1 else "")


def relative(cell: Mapping[int, Figures], base: Mapping[int, Figures], name: str) -> str:
    """Return the paired difference and half its interval; bold where that leaves out zero."""
    apart = difference(cell, base, name)
    if apart is None:
        return "–"
    text = f"{apart[0]:+.2g} ± {_spread(apart[1])}"
    return f"**{text}**" if abs(apart[0]) > apart[1] else text


def _spread(value: float) -> str:
    """Return one digit, or two from ten on; never a power of ten."""
    return f"{value:.0f}" if value >= 10 else f"{value:.1g}"


def tables(cells: Cells, base: str) -> str:
    """Return what was measured, and the differences to the configuration ``base``, as Markdown."""
    shown = [name for name in MEASURES if any(name in one for runs in cells.values() for one in runs.values())]
    head = f"| {' | '.join(MEASURES[name] for name in shown)} |\n|---|{'---:|' * len(shown)}"
    rows = [f"| {title} | {' | '.join(absolute(cell, name) for name in shown)} |" for title, cell in cells.items()]
    apart = [
        f"| {title} | {' | '.join(relative(cell, cells[base], name) for name in shown)} |"
        for title, cell in cells.items()
        if title != base
    ]
    return "\n".join([f"| {head}", *rows, "", f"| less {base} {head}", *apart])


def main(argv: Sequence[str] | None = None) -> None:
    """Read, print and, if asked, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study", choices=("phi", "defences", "labels"))
    parser.add_argument("cells", type=Path, help="the sweep's folder cells")
    parser.add_argument("--write", action="store_true", help="write the record")
    options = parser.parse_args(argv)
    cells = read(options.cells, options.study)
    base = {"phi": "slr", "defences": "none", "labels": "psl, none"}[options.study]
    if base not in cells:
        parser.error(f"no measured run of {base!r} in {options.cells}; run sglr leak first")
    print(tables(cells, base))
    if options.write:
        result = {
            "machine": machine(),
            "command": f"python benchmarks/leakage_study.py {options.study}",
            "cells": cells,
        }
        write_result("leakage", f"{options.study}-cpu", result, keep=True)


if __name__ == "__main__":
    main()
