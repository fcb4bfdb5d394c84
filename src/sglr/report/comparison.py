"""The report of a comparison: one table, one plot, and what was run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from sglr.report import numbers
from sglr.report.charts import MARKED
from sglr.report.comparison_chart import comparison_chart, mean_curve
from sglr.report.page import relative_link, render, setting_rows
from sglr.report.palette import SERIES, dashes
from sglr.report.svg import inline_svg, standalone_svg
from sglr.run import Run, write_text

PLOT, REPORT = "accuracy.svg", "report.html"


@dataclass(frozen=True)
class ComparisonRow:
    """One method of a comparison, run with one or several seeds.

    Parameters
    ----------
    label
        What tells it from the others, e.g. ``"sglr (phi=0.75, alpha=0.5)"``.
    method
        Its registered name.
    runs
        Folders of its runs, one for each seed.
    diverged
        What is to be said of each run that diverged, e.g. ``"seed 1 at step 30"``.
    """

    label: str
    method: str
    runs: tuple[Path, ...]
    diverged: tuple[str, ...] = ()

    @classmethod
    def of(cls, row: ComparisonRow | Mapping[str, Any]) -> ComparisonRow:
        """Take a row as it is, or from a mapping with the same keys."""
        if isinstance(row, ComparisonRow):
            return row
        runs = tuple(Path(path) for path in row["runs"])
        return cls(row["label"], row["method"], runs, tuple(str(note) for note in row.get("diverged", ())))


def write_comparison_report(folder: Path, rows: Sequence[ComparisonRow | Mapping[str, Any]], command: str = "") -> None:
    """Write ``accuracy.svg`` and ``report.html`` into ``folder``.

    Parameters
    ----------
    folder
        Where; it exists.
    rows
        The methods in the order in which they are shown; mappings have the keys of `ComparisonRow`.
    command
        The command that repeats the comparison, if there is one.
    """
    methods = [_Method.read(ComparisonRow.of(row), number) for number, row in enumerate(rows)]
    curves = [mean_curve(one.row.label, one.histories, "validation_accuracy") for one in methods]
    drawable = any(one.values for one in curves)
    title = "validation accuracy over epochs"
    write_text(folder / PLOT, standalone_svg(comparison_chart(curves, named=True), "accuracy", title))
    shared, varied = _divided_settings([run for one in methods for run in one.runs])
    page = render(
        "comparison.html.j2",
        title=f"Comparison of {len(methods)} methods" if len(methods) != 1 else "Comparison",
        sentence=_sentence(methods, shared),
        chart=inline_svg(comparison_chart(curves, named=True), "wide", title) if drawable else None,
        small_chart=inline_svg(comparison_chart(curves, named=False), "narrow", title),
        cropped=len({epoch for one in curves for epoch in one.epochs}) > MARKED,
        seeds=max((len(one.runs) for one in methods), default=0),
        columns=[column.title for column in COLUMNS],
        rows=[_shown(one, methods) for one in methods],
        runs=[_shown_run(one.row.label, run, folder) for one in methods for run in one.runs],
        settings=setting_rows(shared),
        varied=sorted(varied),
        command=command,
    )
    write_text(folder / REPORT, page)


@dataclass(frozen=True)
class _Method:
    """A row with what its finished runs recorded; one that broke off would bend the mean curve."""

    row: ComparisonRow
    number: int
    runs: tuple[Run, ...]
    histories: tuple[list[dict[str, Any]], ...]
    summaries: tuple[dict[str, Any], ...]

    @classmethod
    def read(cls, row: ComparisonRow, number: int) -> _Method:
        runs = tuple(Run.open(path) for path in row.runs)
        finished = [(run.history, summary) for run in runs if (summary := run.summary) is not None]
        return cls(row, number, runs, tuple(one[0] for one in finished), tuple(one[1] for one in finished))


@dataclass(frozen=True)
class _Column:
    """A column of the table: where its figure is in a summary, how it is written, and which is best."""

    title: str
    keys: tuple[str, ...]
    write: Callable[[float], str]
    write_spread: Callable[[float], str]
    best: Callable[[Iterable[float]], float] | None = None

    def values(self, method: _Method) -> list[float]:
        found = [_within(summary, self.keys) for summary in method.summaries]
        return [float(value) for value in found if value is not None]


COLUMNS = (
    _Column("Test accuracy", ("test", "accuracy"), numbers.percent, numbers.points, max),
    _Column("Spread over clients", ("test", "accuracy_std_over_clients"), numbers.points, lambda _: ""),
    _Column("Best validation", ("validation", "accuracy"), numbers.percent, numbers.points, max),
    _Column("At epoch", ("validation", "best_epoch"), numbers.count, lambda _: ""),
    _Column("Sent", ("communication", "up_bytes"), numbers.size, lambda _: "", min),
    _Column("Received", ("communication", "down_bytes"), numbers.size, lambda _: "", min),
    _Column("Training time", ("training_seconds",), numbers.duration, lambda _: "", min),
    _Column("Samples/s", ("samples_per_second",), numbers.count, lambda _: "", max),
)


def _within(summary: Mapping[str, Any], keys: Sequence[str]) -> Any:
    value: Any = summary
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _shown(method: _Method, methods: Sequence[_Method]) -> dict[str, Any]:
    """Prepare one row of the table."""
    return {
        "label": method.row.label,
        "colour": method.number % len(SERIES),
        "dashes": " ".join(f"{length:g}" for length in dashes(method.number)),
        "diverged": "; ".join(method.row.diverged),
        "cells": [_cell(column, method, methods) for column in COLUMNS],
    }


def _cell(column: _Column, method: _Method, methods: Sequence[_Method]) -> dict[str, Any]:
    values = column.values(method)
    if not values:
        return {"figure": numbers.NONE, "spread": "", "best": False}
    spread = column.write_spread(stdev(values)) if len(values) > 1 else ""
    return {"figure": column.write(fmean(values)), "spread": spread, "best": _is_best(column, method, methods)}


def _is_best(column: _Column, method: _Method, methods: Sequence[_Method]) -> bool:
    """Tell whether no other method's figure is better as it is written; where all are equal none is best."""
    if column.best is None:
        return False
    means = {one.number: fmean(values) for one in methods if (values := column.values(one))}
    # Nothing to send is no merit: centralized training has the data.
    means = {number: mean for number, mean in means.items() if mean > 0}
    written = {number: column.write(mean) for number, mean in means.items()}
    if len(set(written.values())) < 2:
        return False
    return written.get(method.number) == column.write(column.best(means.values()))


def _shown_run(label: str, run: Run, folder: Path) -> dict[str, str]:
    summary = run.summary or {}
    return {
        "label": label,
        "seed": str(run.settings.get("seed", numbers.NONE)),
        "accuracy": numbers.percent(_within(summary, ("test", "accuracy"))),
        "folder": run.path.name,
        "link": relative_link(run.path / REPORT, folder) if (run.path / REPORT).is_file() else "",
    }


def _divided_settings(runs: Sequence[Run]) -> tuple[dict[str, Any], set[str]]:
    """Tell the settings that all runs share from the names of those that differ."""
    every = [run.settings for run in runs]
    names = list(dict.fromkeys(name for settings in every for name in settings))
    varied = {name for name in names if any(settings.get(name) != every[0].get(name) for settings in every)}
    return {name: every[0][name] for name in names if name not in varied}, varied


def _sentence(methods: Sequence[_Method], shared: Mapping[str, Any]) -> str:
    runs = sum(len(one.runs) for one in methods)
    parts = [f"{runs} run{'' if runs == 1 else 's'} of {len(methods)} method{'' if len(methods) == 1 else 's'}"]
    phrases = {
        "dataset": "on {}",
        "model": "with the model {}",
        "clients": "among {} clients",
        "partition": "partition {}",
        "epochs": "{} epochs",
        "batch_size": "{} samples of each client per step",
    }
    parts += [phrase.format(shared[name]) for name, phrase in phrases.items() if name in shared]
    seeds = max((len(one.runs) for one in methods), default=0)
    return ", ".join(parts) + "." + (" Figures are means over seeds, ± one standard deviation." if seeds > 1 else "")
