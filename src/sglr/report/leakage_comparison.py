"""What several runs leak, on one page: figures, the score against leakage, originals beside reconstructions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

from sglr.report import numbers
from sglr.report.charts import blank_chart
from sglr.report.comparison_table import Compared, shared_score
from sglr.report.costs import within
from sglr.report.grouping import group_runs
from sglr.report.leakage import MEASURES, attack_row, flat, picture_row, read_leakage
from sglr.report.page import relative_link, render, written
from sglr.report.palette import MUTED, SERIES, colour
from sglr.report.score_style import ScoreStyle
from sglr.report.svg import inline_svg
from sglr.runs.folder import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FRONTIERS = {
    "reconstruction.mse": ("reconstruction error (MSE)", "To the right is more private, {better} is better."),
    "distance_correlation": ("distance correlation", "To the left is more private, {better} is better."),
}
"""Measures that the score is drawn against, with the axis' title and what is better."""


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

    def score(self, score: ScoreStyle) -> Point | None:
        """Return the mean test score over runs, with Student's interval where there are several."""
        found = [within(run.summary or {}, *score.place) for run in self.runs]
        return mean_point([value for value in found if value is not None])


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
    groups = group_runs(runs)
    rows = [_leaking(row.label, row.runs) for row in groups]
    score = shared_score([Compared.read(row, number) for number, row in enumerate(groups)])
    return render(
        "leakage_comparison.html.j2",
        title=f"What {len(rows)} ways of training leak" if len(rows) > 1 else "What leaks",
        names=[
            {"label": row.label, "colour": number % len(SERIES), "shape": _mark(number)[1]}
            for number, row in enumerate(rows)
        ],
        columns=[title for name, (title, _) in MEASURES.items() if any(row.point(name) for row in rows)],
        score=score,
        rows=[_table_row(row, rows, score) for row in rows],
        frontiers=_frontiers(rows, score),
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


def _table_row(row: Leaking, rows: Sequence[Leaking], score: ScoreStyle) -> dict[str, Any]:
    shown = [name for name in MEASURES if any(one.point(name) for one in rows)]
    mean = row.score(score)
    return {
        "score": score.write(mean.value) if mean else numbers.NONE,
        "spread": score.spread(mean.half) if mean and mean.half else "",
        "cells": [_cell(name, row.point(name)) for name in shown],
    }


def _cell(name: str, point: Point | None) -> dict[str, str]:
    if point is None:
        return {"figure": numbers.NONE, "spread": ""}
    share = name == "label_inference_accuracy"
    spread = numbers.points(point.half) if share else f"± {numbers.plain(point.half, 2)}"
    value = numbers.percent(point.value) if share else numbers.plain(point.value, 3)
    return {"figure": value, "spread": spread if point.half else ""}


def _frontiers(rows: Sequence[Leaking], score: ScoreStyle) -> list[dict[str, str]]:
    found = []
    for name, (title, reading) in FRONTIERS.items():
        points = [(row.point(name), row.score(score)) for row in rows]
        if sum(leak is not None and one is not None for leak, one in points) > 1:
            chart = frontier_chart(points, title, score)
            svg = inline_svg(chart, f"frontier-{name}", f"test {score.title} against {title}")
            note = reading.format(better="up" if score.higher_is_better else "down")
            found.append({"title": f"{score.heading} against {title}", "svg": svg, "note": note})
    return found


def frontier_chart(points: Sequence[tuple[Point | None, Point | None]], title: str, score: ScoreStyle) -> Figure:
    """Draw the score over leakage, one point with its intervals for each row, in the rows' colours and order."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    drawn, axes = blank_chart(4.1, 3.2)
    for number, (leak, mean) in enumerate(points):
        if leak is None or mean is None:
            continue
        paint, (shape, _) = colour(number).light, _mark(number)
        x_bar, y_bar = leak.half or None, mean.half or None
        axes.errorbar(
            leak.value, mean.value, xerr=x_bar, yerr=y_bar, fmt=shape, color=paint, markersize=7, elinewidth=1.2
        )
    axes.set_xlabel(title)
    axes.set_ylabel(f"test {score.title}", color=MUTED.light, fontsize=9)
    axes.margins(0.12)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: numbers.short(value)))
    unit = f" {score.shown_unit}" if score.shown_unit else ""
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value * score.scale:.4g}{unit}"))
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
