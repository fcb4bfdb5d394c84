"""What came out of a comparison: one row per method, in ``comparison.json`` and as a table."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

from sglr.core.errors import UsageError
from sglr.report.numbers import NONE, count, duration, percent, points, size
from sglr.runs.folder import Run
from sglr.storage.files import write_text
from sglr.storage.json_files import read_object

if TYPE_CHECKING:
    from sglr.studies.compare.compare import Trial

COMPARISON, TABLE = "comparison.json", "comparison.md"

UNEQUAL = 0.02
"""Difference from the accuracy at which tables show the balanced accuracy: classes are not equally frequent."""

SPREAD, BALANCED = "± over clients", "balanced accuracy"
HEADINGS = ("method", "test accuracy", SPREAD, "best epoch", "sent up", "sent down", "time", "samples /s")


@dataclass(frozen=True)
class Comparison:
    """The result of a comparison.

    Parameters
    ----------
    path
        Its folder; every run is in a folder of its own inside.
    rows
        One mapping per method, the most accurate first: ``label``, ``method``, ``parameters``, ``seeds``, ``runs``
        (folder names), ``diverged`` (what is to be said of runs that diverged), and over the other runs the means of
        ``test.accuracy`` (with its standard deviation over seeds, ``test.accuracy_sd``),
        ``test.accuracy_std_over_clients``, ``best_epoch``, ``communication``, ``seconds``, ``samples_per_second``.
    """

    path: Path
    rows: Sequence[Mapping[str, Any]]

    def record(self) -> dict[str, Any]:
        """Return what ``comparison.json`` holds."""
        return {"rows": list(self.rows)}

    def with_paths(self) -> list[dict[str, Any]]:
        """Return the rows with the runs' whole paths."""
        return [{**row, "runs": [self.path / run for run in row["runs"]]} for row in self.rows]

    def table(self) -> list[tuple[str, ...]]:
        """Return the rows as people read them, in the columns of `headings`."""
        return [_cells(row, balanced=is_unequal(self.rows)) for row in self.rows]

    def headings(self) -> tuple[str, ...]:
        """Return the columns; balanced accuracy, where it tells more, takes the place of the spread over clients."""
        unequal = is_unequal(self.rows)
        return tuple(BALANCED if unequal and name == SPREAD else name for name in HEADINGS)

    def notes(self) -> list[str]:
        """Return a line for every run that diverged."""
        return [f"{row['label']}, {note}" for row in self.rows for note in row["diverged"]]

    def markdown(self) -> str:
        """Return the table as Markdown, with what is needed to read it."""
        lines = [self.headings(), ("---", *["---:"] * (len(HEADINGS) - 1)), *self.table()]
        text = "".join(f"| {' | '.join(cells)} |\n" for cells in lines)
        how = "Test accuracy is ± the standard deviation over seeds"
        how += ".\n" if is_unequal(self.rows) else ", and it spreads over clients by ± their own.\n"
        parameters = "".join(_parameter_line(row) for row in self.rows if row["parameters"])
        diverged = "".join(f"- diverged: {note}\n" for note in self.notes())
        return "\n".join(filter(None, ["# Comparison\n", text, how, parameters, diverged]))


def make_row(label: str, results: Sequence[tuple[Trial, Run, str | None]]) -> dict[str, Any]:
    """Fold a method's runs into one row."""
    experiment = results[0][0].experiment
    summaries = [run.summary for _, run, problem in results if problem is None]
    finished = [summary for summary in summaries if summary is not None]
    return {
        "label": label,
        "method": experiment.method,
        "parameters": experiment.method_parameters,
        "seeds": [trial.seed for trial, _, _ in results],
        "runs": [run.path.name for _, run, _ in results],
        "diverged": [f"seed {trial.seed}: {problem}" for trial, _, problem in results if problem is not None],
        **mean_figures(finished),
    }


def mean_figures(finished: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the means of a row's figures over the summaries of its finished runs; None where no run has a figure."""
    accuracies = [summary["test"]["accuracy"] for summary in finished]
    return {
        "test": {
            "accuracy": _mean(accuracies),
            "accuracy_sd": stdev(accuracies) if len(accuracies) > 1 else None,
            "accuracy_std_over_clients": _mean_of(finished, "test", "accuracy_std_over_clients"),
            "balanced_accuracy": _mean_of(finished, "test", "balanced_accuracy"),
        },
        "best_epoch": _mean_of(finished, "validation", "best_epoch"),
        "communication": {name: _mean_of(finished, "communication", name) for name in ("up_bytes", "down_bytes")},
        "seconds": _mean_of(finished, "seconds"),
        "samples_per_second": _mean_of(finished, "samples_per_second"),
    }


def write_comparison(folder: Path, rows: Sequence[Mapping[str, Any]]) -> Comparison:
    """Write a comparison's files, the most accurate method first."""
    comparison = Comparison(folder, sorted(rows, key=_rank))
    write_text(folder / COMPARISON, json.dumps(comparison.record(), indent=2) + "\n")
    write_text(folder / TABLE, comparison.markdown())
    return comparison


def read_comparison(folder: Path) -> Comparison:
    """Read a comparison from its folder.

    Raises
    ------
    UsageError
        If ``comparison.json`` is missing or damaged.
    """
    try:
        return Comparison(folder, (read_object(folder / COMPARISON) or {})["rows"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        problem = f"its {COMPARISON} cannot be read ({error})"
        raise UsageError("comparison", folder, problem, "run the same comparison again") from error


def is_unequal(rows: Sequence[Mapping[str, Any]]) -> bool:
    """Tell whether the balanced accuracy of any row is far from its accuracy."""
    pairs = [(row["test"]["accuracy"], row["test"].get("balanced_accuracy")) for row in rows]
    return any(one is not None and other is not None and abs(one - other) >= UNEQUAL for one, other in pairs)


def _cells(row: Mapping[str, Any], *, balanced: bool) -> tuple[str, ...]:
    test, traffic = row["test"], row["communication"]
    accuracy = f"{percent(test['accuracy'])} {points(test['accuracy_sd'])}".strip()
    return (
        str(row["label"]),
        accuracy if test["accuracy"] is not None else "diverged",
        percent(test.get("balanced_accuracy")) if balanced else points(test["accuracy_std_over_clients"]) or NONE,
        NONE if row["best_epoch"] is None else f"{row['best_epoch']:.3g}",
        size(traffic["up_bytes"]),
        size(traffic["down_bytes"]),
        duration(row["seconds"]),
        count(row["samples_per_second"]),
    )


def _parameter_line(row: Mapping[str, Any]) -> str:
    values = ", ".join(f"{name} = {value}" for name, value in row["parameters"].items())
    return f"- {row['label']}: {values}\n"


def _rank(row: Mapping[str, Any]) -> float:
    accuracy = row["test"]["accuracy"]
    return math.inf if accuracy is None else -float(accuracy)


def _mean_of(summaries: Sequence[Mapping[str, Any]], *keys: str) -> float | None:
    """Return the mean of a figure over runs; None where no run has it."""
    found = []
    for summary in summaries:
        value: Any = summary
        for key in keys:
            value = None if value is None else value.get(key)  # older runs lack some
        if value is not None:
            found.append(float(value))
    return _mean(found)


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None
