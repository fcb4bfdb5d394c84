"""What came out of a sweep: one row per configuration, in ``sweep.json`` and as a table."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sglr.core.errors import UsageError
from sglr.core.registry import METHODS
from sglr.report.numbers import NONE, duration, percent, points, size
from sglr.report.page import written
from sglr.storage.files import write_text
from sglr.storage.json_files import read_object
from sglr.studies.compare.comparison import BALANCED, is_unequal, mean_figures
from sglr.studies.scheduler.outcome import Outcome
from sglr.studies.sweeps.configuration import Configuration

SWEEP = "sweep.json"

FIGURES = ("test accuracy", "sent up", "sent down", "time")
"""The headings of the table's last columns; before them is one for every setting that differs."""


@dataclass(frozen=True)
class Sweep:
    """The result of a sweep.

    Parameters
    ----------
    path
        Its folder; every run is in a folder of its own inside ``cells``.
    rows
        One mapping per configuration, in the order of the grid, cases last: ``label``, ``method``, ``pooled`` (whether
        that trains on pooled data), ``values`` (of the settings in which configurations differ), ``seeds``, ``runs``
        (folders inside ``path``) and ``accuracies`` (None where a run diverged) for each seed, ``diverged`` (what is to
        be said of runs that diverged), and over the other runs the
        means of ``test.accuracy`` (with its standard deviation over seeds, ``test.accuracy_sd``),
        ``test.accuracy_std_over_clients``, ``best_epoch``, ``communication``, ``samples_per_second`` and ``seconds``.
    """

    path: Path
    rows: Sequence[Mapping[str, Any]]

    @property
    def keys(self) -> list[str]:
        """The settings in which configurations differ."""
        return list(self.rows[0]["values"])

    @property
    def best(self) -> Mapping[str, Any] | None:
        """The row with the highest mean test accuracy, or None.

        Rows with a run that diverged do not count, nor does training on pooled data, which is `ceiling`.
        """
        return _highest(row for row in self.rows if not row.get("pooled"))

    @property
    def ceiling(self) -> Mapping[str, Any] | None:
        """The best row that trains on the data of all clients pooled: what no method without them is to reach."""
        return _highest(row for row in self.rows if row.get("pooled"))

    def record(self) -> dict[str, Any]:
        """Return what ``sweep.json`` holds."""
        picked = {"best": self.best, "ceiling": self.ceiling}
        labels = {name: None if row is None else row["label"] for name, row in picked.items()}
        return {"keys": self.keys, **labels, "rows": list(self.rows)}

    def headings(self) -> tuple[str, ...]:
        """Return the headings of the table's columns."""
        accuracy, *others = FIGURES
        balanced = [BALANCED] if is_unequal(self.rows) else []
        return (*(["name"] if self._named else []), *self.keys, accuracy, *balanced, *others)

    def table(self) -> list[tuple[str, ...]]:
        """Return the rows as people read them, in the columns of `headings`."""
        return [self._cells(row) for row in self.rows]

    def notes(self) -> list[str]:
        """Return a line for every run that diverged."""
        return [f"{row['label']}, {note}" for row in self.rows for note in row["diverged"]]

    @property
    def _named(self) -> bool:
        return any(row["name"] for row in self.rows)

    def _cells(self, row: Mapping[str, Any]) -> tuple[str, ...]:
        test, traffic = row["test"], row["communication"]
        accuracy = f"{percent(test['accuracy'])} {points(test['accuracy_sd'])}".strip()
        return (
            *([row["name"] or NONE] if self._named else []),
            *(written(row["values"][key]) for key in self.keys),
            accuracy if test["accuracy"] is not None else "diverged",
            *([percent(test.get("balanced_accuracy"))] if is_unequal(self.rows) else []),
            size(traffic["up_bytes"]),
            size(traffic["down_bytes"]),
            duration(row["seconds"]),
        )


def _highest(rows: Iterable[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    sound = [row for row in rows if not row["diverged"]]
    return max(sound, key=lambda row: float(row["test"]["accuracy"]), default=None)


def make_row(configuration: Configuration, outcomes: Mapping[str, Outcome], folder: Path) -> dict[str, Any]:
    """Fold a configuration's runs into one row; ``outcomes`` are by the fingerprint of the settings."""
    found = [outcomes[experiment.fingerprint()] for experiment in configuration.experiments]
    summaries = [outcome.run.summary for outcome in found if outcome.problem is None]
    pairs = list(zip(configuration.seeds, found, strict=True))
    method = configuration.experiments[0].method
    figures = mean_figures([summary for summary in summaries if summary is not None])
    return {
        "label": configuration.label,
        "name": configuration.experiments[0].name,
        "method": method,
        "pooled": method in METHODS.names() and bool(METHODS.load(method).pooled),
        "values": dict(configuration.values),
        "seeds": configuration.seeds,
        "runs": [outcome.run.path.relative_to(folder).as_posix() for outcome in found],
        "accuracies": [outcome.accuracy for outcome in found],
        "diverged": [f"seed {seed}: {outcome.problem}" for seed, outcome in pairs if outcome.problem is not None],
        **figures,
        "seconds": sum(outcome.seconds for outcome in found) / len(found),
    }


def write_sweep(folder: Path, rows: Sequence[Mapping[str, Any]]) -> Sweep:
    """Write ``sweep.json``."""
    sweep = Sweep(folder, rows)
    write_text(folder / SWEEP, json.dumps(sweep.record(), indent=2) + "\n")
    return sweep


def read_sweep(folder: Path) -> Sweep:
    """Read a sweep from its folder.

    Raises
    ------
    UsageError
        If ``sweep.json`` is missing or damaged.
    """
    try:
        rows = (read_object(folder / SWEEP) or {})["rows"]
        sweep = Sweep(folder, rows)
        sweep.headings(), sweep.table()
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        problem = f"its {SWEEP} cannot be read ({type(error).__name__}: {error})"
        raise UsageError("sweep", folder, problem, "run the same sweep again") from error
    return sweep
