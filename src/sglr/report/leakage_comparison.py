"""What several runs leak, on one page: figures, accuracy against leakage, originals beside reconstructions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

from sglr.report import numbers
from sglr.report.charts import blank_chart
from sglr.report.grouping import group_runs
from sglr.report.leakage import MEASURES, attack_row, flat, picture_row, read_leakage
from sglr.report.page import relative_link, render, written
from sglr.report.palette import MUTED, SERIES, colour
from sglr.report.svg import inline_svg
from sglr.runs.folder import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FRONTIERS = {
    "reconstruction.mse": ("reconstruction error (MSE)", "To the right is more private, up is more accurate."),
    "distance_correlation": ("distance correlation", "To the left is more private, up is more accurate."),
}
"""Measures that accuracy is drawn against, with the axis' title and what is better."""


@dataclass(frozen=True)
class Point:
    """A figure over clients and seeds: the mean, and half of its 95 % interval; 0 where there is but one."""

    value: float
    half: float
    samples: int


@dataclass(frozen=True)
class Leaking:
    """A row: runs that differ by their seed alone, and what they leak."""

    label: str
    runs: tuple[Run, ...]
    records: tuple[Mapping[str, Any], ...]

    def point(self, name: str) -> Point | None:
        """Return a measure's mean over the clients of all runs, with Student's interval."""
        clients = [flat(client) for record in self.records for client in record.get("clients", {}).values()]
        return mean_point([one[name]["value"] for one in clients if name in one and one[name]["value"] is not None])

    def accuracy(self) -> Point | None:
        """Return the mean test accuracy over runs, with Student's interval where there are several."""
        summaries = [run.summary for run in self.runs]
        return mean_point([one["test"]["accuracy"] for one in summaries if one and one.get("test")])


def mean_point(values: Sequence[float]) -> Point | None:
    """Return the mean of values with Student's 95 % interval; None where there are none."""
    if not values:
        return None
    if len(values) < 2:
        return Point(values[0], 0.0, 1)
    from scipy.stats import t

    half = float(t.ppf(0.975, len(values) - 1)) * stdev(values) / len(values) ** 0.5
    return Point(fmean(values), half, len(values))


def leakage_page(folder: Path, runs: Sequence[Run], command: str = "") -> str:
    """Return the page about runs, all of which were measured; ``folder`` is where the page will be."""
    rows = [_leaking(row.label, row.runs) for row in group_runs(runs)]
    return render(
        "leakage_comparison.html.j2",
        title=f"What {len(rows)} ways of training leak" if len(rows) > 1 else "What leaks",
        names=[
            {"label": row.label, "colour": number % len(SERIES), "shape": _mark(number)[1]}
            for number, row in enumerate(rows)
        ],
        columns=[title for name, (title, _) in MEASURES.items() if any(row.point(name) for row in rows)],
        rows=[_table_row(row, rows) for row in rows],
        frontiers=_frontiers(rows),
        pictures=_pictures(rows),
        attacks=_attacks(rows),
        runs=[
            {"label": row.label, "folder": str(run.path), "link": relative_link(run.path / "report.html", folder)}
            for row in rows
            for run in row.runs
        ],
        varied=_varied([run for row in rows for run in row.runs]),
        command=command,
    )


def _varied(runs: Sequence[Run]) -> list[str]:
    """Return the settings in which runs differ, with their values: labels need not tell them all."""
    every = [run.settings for run in runs]
    found = {name: list(dict.fromkeys(written(one.get(name)) for one in every)) for one in every for name in one}
    return [f"{name} ({', '.join(values)})" for name, values in found.items() if len(values) > 1]


def _leaking(label: str, paths: Sequence[Path]) -> Leaking:
    return Leaking(label, tuple(Run(path) for path in paths), tuple(read_leakage(path) for path in paths))


def _table_row(row: Leaking, rows: Sequence[Leaking]) -> dict[str, Any]:
    shown = [name for name in MEASURES if any(one.point(name) for one in rows)]
    accuracy = row.accuracy()
    return {
        "accuracy": numbers.percent(accuracy.value) if accuracy else numbers.NONE,
        "spread": numbers.points(accuracy.half) if accuracy and accuracy.half else "",
        "cells": [_cell(name, row.point(name)) for name in shown],
    }


def _cell(name: str, point: Point | None) -> dict[str, str]:
    if point is None:
        return {"figure": numbers.NONE, "spread": ""}
    share = name == "label_inference_accuracy"
    spread = numbers.points(point.half) if share else f"± {numbers.plain(point.half, 2)}"
    value = numbers.percent(point.value) if share else numbers.plain(point.value, 3)
    return {"figure": value, "spread": spread if point.half else ""}


def _frontiers(rows: Sequence[Leaking]) -> list[dict[str, str]]:
    found = []
    for name, (title, better) in FRONTIERS.items():
        points = [(row.point(name), row.accuracy()) for row in rows]
        if sum(leak is not None and accuracy is not None for leak, accuracy in points) > 1:
            chart = frontier_chart(points, title)
            svg = inline_svg(chart, f"frontier-{name}", f"test accuracy against {title}")
            found.append({"title": f"Accuracy against {title}", "svg": svg, "note": better})
    return found


def frontier_chart(points: Sequence[tuple[Point | None, Point | None]], title: str) -> Figure:
    """Draw accuracy over leakage, one point with its intervals for each row, in the rows' colours and order."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    drawn, axes = blank_chart(4.1, 3.2)
    for number, (leak, accuracy) in enumerate(points):
        if leak is None or accuracy is None:
            continue
        paint, (shape, _) = colour(number).light, _mark(number)
        x_bar, y_bar = leak.half or None, accuracy.half or None
        axes.errorbar(
            leak.value, accuracy.value, xerr=x_bar, yerr=y_bar, fmt=shape, color=paint, markersize=7, elinewidth=1.2
        )
    axes.set_xlabel(title)
    axes.set_ylabel("test accuracy", color=MUTED.light, fontsize=9)
    axes.margins(0.12)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: numbers.short(value)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{share * 100:.4g} %"))
    return drawn


def _mark(number: int) -> tuple[str, str]:
    """Return the shape of a row's point, for the chart and for its key: colours alone are too few."""
    return (("o", "round"), ("s", "square"), ("D", "diamond"), ("^", "up"), ("v", "down"))[number // len(SERIES) % 5]


def _pictures(rows: Sequence[Leaking]) -> list[dict[str, Any]]:
    """Return the reconstructions of each row's first run under their originals, which are told once where alike."""
    found: list[dict[str, Any]] = []
    last: Any = None
    for row in rows:
        kept = row.records[0].get("pictures")
        if not kept:
            continue
        if kept["originals"] != last:
            found.append(picture_row("originals", kept["originals"]))
            last = kept["originals"]
        found.append(picture_row(row.label, kept["decoder"]))
    return found


def _attacks(rows: Sequence[Leaking]) -> list[dict[str, Any]]:
    """Return every attack of every run, those of one name together; runs of one row are told apart by their seeds."""
    listed = [
        {**attack_row(attack), "label": f"{row.label}, seed {run.experiment.seed}" if len(row.runs) > 1 else row.label}
        for row in rows
        for run, record in zip(row.runs, row.records, strict=True)
        for attack in record.get("attacks", [])
    ]
    return sorted(listed, key=lambda one: str(one["attack"]))
