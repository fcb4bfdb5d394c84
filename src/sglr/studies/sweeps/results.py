"""The result of a sweep: one row per configuration, in ``sweep.json`` and as a table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sglr.core.registry import METHODS
from sglr.report.numbers import NONE
from sglr.report.page import written
from sglr.studies.figures import row_figures
from sglr.studies.result_table import ACCURACY, BALANCED, SENT_DOWN, SENT_UP, TIME, ResultColumn, ResultTable
from sglr.studies.scheduler.outcome import Outcome
from sglr.studies.sweeps.configuration import Configuration

SWEEP = "sweep.json"


class Sweep(ResultTable):
    """The result of a sweep; every run is in a folder of its own inside ``cells``.

    ``rows`` has one mapping per configuration, in the order of the grid, cases last: ``label``, ``name``, ``method``,
    ``pooled`` (whether that trains on pooled data), ``values`` (of the settings in which configurations differ),
    ``seeds``, ``runs`` (folders inside ``path``) and ``accuracies`` (None where a run diverged) for each seed,
    ``diverged`` (how runs diverged), and over the other runs the means of ``test.accuracy`` (with its standard
    deviation over seeds, ``test.accuracy_sd``), ``test.accuracy_std_over_clients``, ``best_epoch``, ``communication``
    and ``samples_per_second``; ``seconds`` is the mean over all runs.
    """

    FILE, STUDY = SWEEP, "sweep"

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

    def columns(self) -> list[ResultColumn]:
        """Return the columns: what tells configurations apart, then figures."""
        name = [ResultColumn("name", lambda row: row["name"] or NONE)] if any(row["name"] for row in self.rows) else []
        balanced = [BALANCED] if self.is_unequal else []
        return [*name, *map(_value_column, self.keys), ACCURACY, *balanced, SENT_UP, SENT_DOWN, TIME]


def _value_column(key: str) -> ResultColumn:
    return ResultColumn(key, lambda row: written(row["values"][key]))


def _highest(rows: Iterable[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    sound = [row for row in rows if not row["diverged"]]
    return max(sound, key=lambda row: float(row["test"]["accuracy"]), default=None)


def make_row(configuration: Configuration, outcomes: Sequence[Outcome], folder: Path) -> dict[str, Any]:
    """Return the row of a configuration: what its runs, one for every seed, came to."""
    method = configuration.experiments[0].method
    return {
        "label": configuration.label,
        "name": configuration.experiments[0].name,
        "method": method,
        "pooled": method in METHODS.names() and bool(METHODS.load(method).pooled),
        "values": dict(configuration.values),
        "accuracies": [one.accuracy for one in outcomes],
        **row_figures(outcomes, folder),
        "seconds": sum(one.seconds for one in outcomes) / len(outcomes),
    }
