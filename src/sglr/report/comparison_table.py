"""The tables of a comparison: one row for each method, means over its seeds, the best of a column marked."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from sglr.core.errors import UsageError
from sglr.report import numbers
from sglr.report.costs import within
from sglr.report.palette import SERIES, dashes
from sglr.report.score_style import ScoreStyle, best_so_far, headline
from sglr.runs.folder import Run


@dataclass(frozen=True)
class ComparisonRow:
    """One method of a comparison, run with one or several seeds.

    Parameters
    ----------
    label
        What distinguishes it from the others, e.g. ``"sglr:phi=0.75,alpha=0.5"``.
    method
        Its registered name.
    runs
        Folders of its runs, one for each seed.
    diverged
        A note on each run that diverged, e.g. ``"seed 1 at step 30"``.
    time_to
        The score to which times are told; None for the best that every run reaches.
    """

    label: str
    method: str
    runs: tuple[Path, ...]
    diverged: tuple[str, ...] = ()
    time_to: float | None = None

    @classmethod
    def of(cls, row: ComparisonRow | Mapping[str, Any]) -> ComparisonRow:
        """Take a row as it is, or from a mapping with the same keys."""
        if isinstance(row, ComparisonRow):
            return row
        runs = tuple(Path(path) for path in row["runs"])
        target = (row.get("time_to") or {}).get("score")
        return cls(row["label"], row["method"], runs, tuple(str(note) for note in row.get("diverged", ())), target)


@dataclass(frozen=True)
class Compared:
    """A row with what its runs recorded.

    Parameters
    ----------
    row, number
        The row and its position, which decides its colour.
    runs
        All its runs.
    histories, summaries
        Of the finished runs: an unfinished one would distort the mean curve. Where none is finished, histories are of
        all runs, and summaries say how far each got.
    finished
        Whether any run is.
    """

    row: ComparisonRow
    number: int
    runs: tuple[Run, ...]
    histories: tuple[list[dict[str, Any]], ...]
    summaries: tuple[Mapping[str, Any], ...]
    finished: bool

    @classmethod
    def read(cls, row: ComparisonRow, number: int) -> Compared:
        """Read the runs of a row."""
        runs = tuple(Run.open(path) for path in row.runs)
        done = [(run.history, summary) for run in runs if (summary := run.summary) is not None]
        if done or row.diverged:
            return cls(row, number, runs, tuple(one[0] for one in done), tuple(one[1] for one in done), True)
        histories = tuple(run.history for run in runs)
        return cls(row, number, runs, histories, tuple(so_far(history) for history in histories), False)

    def mean(self, *keys: str) -> float | None:
        """Return the mean of a figure over runs; None where no run has it."""
        values = self.values(*keys)
        return fmean(values) if values else None

    def values(self, *keys: str) -> list[float]:
        """Return a figure of every run that has it."""
        found = [within(summary, *keys) for summary in self.summaries]
        return [float(value) for value in found if value is not None]

    @property
    def notes(self) -> list[str]:
        """Notes on single runs: that they diverged, or how far they got."""
        told = "; ".join(self.row.diverged)
        broken = re.findall(r"seed (\d+)", told)
        unfinished = [
            f"seed {seed} is unfinished, {len(run.history)} of {run.settings['epochs']} epochs"
            for run in self.runs
            if run.summary is None and (seed := str(run.settings.get("seed", 0))) not in broken
        ]
        return [*([f"diverged: {told}"] if told else []), *unfinished]


def so_far(history: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what is known of an unfinished run, under the keys of a summary."""
    if not history:
        return {}
    last, score = history[-1], headline(None, history)
    best = best_so_far(history, score)
    return {
        "validation": None if best is None else {score.name: best[0], "best_epoch": best[1]},
        "communication": {key: last.get(key) for key in ("up_bytes", "down_bytes")},
        "training_seconds": last.get("seconds"),
    }


def shared_score(methods: Sequence[Compared]) -> ScoreStyle:
    """Return the headline of all runs.

    Raises
    ------
    UsageError
        If they were trained for different tasks, whose scores can't be compared.
    """
    first: tuple[Run, tuple[str, str], ScoreStyle] | None = None
    for run in (run for one in methods for run in one.runs):
        summary, history = run.summary or {}, run.history
        if not summary and not history:
            continue
        score = headline(summary.get("test"), history)
        task = str((summary.get("task") or {}).get("name", "")) or score.title
        if first is None:
            first = run, (task, score.name), score
        elif first[1][1] != score.name or (first[1][0] != task and summary and first[0].summary):
            problem = f"was trained for {task} ({score.title}), and {first[0].path} for {first[1][0]}"
            raise UsageError("run", run.path, f"{problem} ({first[2].title})", "compare runs of one task")
    return ScoreStyle() if first is None else first[2]


@dataclass(frozen=True)
class TableColumn:
    """A column of a table: where its figure is in a summary, how it is written, and which is best."""

    title: str
    keys: tuple[str, ...]
    write: Callable[[float], str]
    write_spread: Callable[[float], str] = lambda _: ""
    best: Callable[[Iterable[float]], float] | None = None


def result_columns(score: ScoreStyle) -> tuple[TableColumn, ...]:
    """Return the columns of results whose headline is ``score``."""
    best = max if score.higher_is_better else min
    return (
        TableColumn(f"Test {score.title}", score.place, score.write, score.spread, best),
        TableColumn("Balanced accuracy", ("test", "balanced_accuracy"), numbers.percent, numbers.points, max),
        TableColumn("Spread over clients", score.place_of_spread, score.spread),
        TableColumn("Best validation", ("validation", score.name), score.write, score.spread, best),
        TableColumn("At epoch", ("validation", "best_epoch"), numbers.count),
    )


COSTS = (
    TableColumn("Sent", ("communication", "up_bytes"), numbers.size, best=min),
    TableColumn("Received", ("communication", "down_bytes"), numbers.size, best=min),
    TableColumn("Both by broadcast", ("communication", "views", "broadcast", "total_bytes"), numbers.size, best=min),
    TableColumn("Computation of a client", ("computation", "client_flops", "mean"), numbers.operations, best=min),
    TableColumn("Energy, modelled", ("energy", "modelled", "total_joules"), numbers.joules, best=min),
    TableColumn("Energy of this machine", ("energy", "measured", "joules"), numbers.joules, best=min),
    TableColumn("Training time", ("training_seconds",), numbers.duration, best=min),
    TableColumn("Samples/s", ("samples_per_second",), numbers.count, best=max),
)


def comparison_table(columns: Sequence[TableColumn], methods: Sequence[Compared]) -> dict[str, Any]:
    """Prepare a table; columns that no method has a figure for are left out."""
    known = [column for column in columns if any(one.values(*column.keys) for one in methods)]
    return {
        "columns": [column.title for column in known],
        "rows": [{**shown(one), "cells": [_cell(column, one, methods) for column in known]} for one in methods],
    }


def shown(method: Compared) -> dict[str, Any]:
    """Return how a method is named, and the look of its line."""
    return {
        "label": method.row.label,
        "colour": method.number % len(SERIES),
        "dashes": " ".join(f"{length:g}" for length in dashes(method.number)),
        "notes": method.notes,
    }


def _cell(column: TableColumn, method: Compared, methods: Sequence[Compared]) -> dict[str, Any]:
    values = method.values(*column.keys)
    if not values:
        return {"figure": numbers.NONE, "spread": "", "best": False}
    spread = column.write_spread(stdev(values)) if len(values) > 1 else ""
    return {"figure": column.write(fmean(values)), "spread": spread, "best": _is_best(column, method, methods)}


def _is_best(column: TableColumn, method: Compared, methods: Sequence[Compared]) -> bool:
    """Tell whether no other method's figure is better as it is written; where all are equal none is best."""
    if column.best is None:
        return False
    # What is unfinished has not spent all it will.
    means = {one.number: mean for one in methods if one.finished and (mean := one.mean(*column.keys)) is not None}
    if column in COSTS:  # nothing to send is no merit: centralized training has the data
        means = {number: mean for number, mean in means.items() if mean > 0}
    written = {number: column.write(mean) for number, mean in means.items()}
    if len(set(written.values())) < 2:
        return False
    return written.get(method.number) == column.write(column.best(means.values()))
