"""Fold the runs of ``non_iid/digits.toml`` and ``non_iid/fashion-mnist.toml`` into tables, for docs/results/non-iid.md.

A division of the data is a sweep of its own, and one table: every method as it is, with label frequencies corrected,
and what the correction changes, paired by seed.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from leakage_study import Cells, absolute, difference, relative
from record import machine, write_result
from sglr.runs.folder import Run

ACCURACY = "accuracy"
BASE = "psl"
"""The method that others are held against."""

HEAD = """| method | as it is | corrected | what correcting changes | as it is, less `psl` |
|---|---:|---:|---:|---:|"""


def name_of(settings: Mapping[str, Any]) -> str:
    """Call a method by its name and what it averages over."""
    if settings["method"] != "sglr":
        return f"`{settings['method']}`"
    over = "class" if settings["average"] == "class" else "position"
    return f"`sglr`, φ = {settings['phi']:g}, by {over}"


def read(sweep: Path) -> dict[str, Cells]:
    """Return test accuracies in %, by ``label_prior``, method and seed."""
    found: dict[str, Cells] = {"ignore": {}, "own": {}}
    for path in sorted(sweep.glob("cells/*/summary.json")):
        settings = Run.open(path.parent).settings
        accuracy = json.loads(path.read_text(encoding="utf-8"))["test"][ACCURACY]
        own = found[settings["label_prior"]].setdefault(name_of(settings), {})
        own[settings["seed"]] = {ACCURACY: 100 * accuracy}
    return found


def table(found: Mapping[str, Cells]) -> str:
    """Return one division of the data as Markdown, the most accurate method first."""
    plain, corrected = found["ignore"], found["own"]
    rows = []
    for name in sorted(plain, key=lambda name: -fmean(one[ACCURACY] for one in plain[name].values())):
        cells = [absolute(plain[name], ACCURACY)]
        own = corrected.get(name)
        cells += [absolute(own, ACCURACY), relative(own, plain[name], ACCURACY)] if own else ["–", "–"]
        base = plain.get(f"`{BASE}`")
        cells.append(relative(plain[name], base, ACCURACY) if base and name != f"`{BASE}`" else "–")
        rows.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join([HEAD, *rows])


def record(found: Mapping[str, Cells]) -> list[dict[str, Any]]:
    """Return what was measured, a row for each method and correction."""
    rows = []
    for prior, cells in found.items():
        for name, own in cells.items():
            apart = difference(own, found["ignore"].get(name, {}), ACCURACY) if prior == "own" else None
            accuracies = {str(seed): one[ACCURACY] for seed, one in sorted(own.items())}
            rows.append({"method": name, "label_prior": prior, "accuracies": accuracies, "change": apart})
    return rows


def main(argv: Sequence[str] | None = None) -> None:
    """Read, print and, if asked, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="folder of the sweeps, such as runs/non-iid")
    parser.add_argument("--write", action="store_true", help="keep the record in benchmarks/results")
    options = parser.parse_args(argv)
    sweeps = {path.parent.name: read(path.parent) for path in sorted(options.folder.glob("*/cells"))}
    sweeps = {name: found for name, found in sweeps.items() if found["ignore"]}
    if not sweeps:
        parser.error(f"no finished run in {options.folder}; digits.toml in non_iid says the commands")
    for name, found in sweeps.items():
        print(f"{name}\n\n{table(found)}\n")
    if options.write:
        command = "python benchmarks/non_iid_study.py runs/non-iid --write"
        tables = {name: record(found) for name, found in sweeps.items()}
        write_result("non-iid", "cpu", {"command": command, "machine": machine(), "sweeps": tables}, keep=True)


if __name__ == "__main__":
    main()
