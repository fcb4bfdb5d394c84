"""The result of a sweep: one row per configuration, in ``sweep.json`` and as a table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sglr.core.registry import METHODS
from sglr.report.numbers import NONE
from sglr.report.page import written
from sglr.report.score_style import ACCURACY
from sglr.studies.figures import row_figures
from sglr.studies.result_table import BALANCED, SENT_DOWN, SENT_UP, TIME, ResultColumn, ResultTable
from sglr.studies.scheduler.outcome import Outcome
from sglr.studies.sweeps.configuration import Configuration

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SWEEP = "sweep.json"


class Sweep(ResultTable):
    """The result of a sweep; every run is in a folder of its own inside ``cells``.

    ``rows`` has one mapping per configuration, in the order of the grid, cases last: ``label``, ``name``, ``method``,
    ``pooled`` (whether that trains on pooled data), ``values`` (of the settings in which configurations differ),
    ``seeds``, ``runs`` (folders inside ``path``) and ``accuracies`` (None where a run diverged) for each seed,
    ``diverged`` (how runs diverged), and over the other runs the means of ``test.accuracy`` (with its standard
    deviation over seeds, ``test.accuracy_sd``), ``test.accuracy_std_over_clients``, ``best_epoch``, ``communication``
    and ``samples_per_second``; ``seconds`` is the mean over all runs. For other tasks the name of their score takes the
    place of ``accuracy``; ``test.headline`` tells it, and ``scores`` are those of single runs.
    """

    FILE, STUDY = SWEEP, "sweep"

    @property
    def keys(self) -> list[str]:
        """The settings in which configurations differ."""
        return list(self.rows[0]["values"])

    @property
    def best(self) -> Mapping[str, Any] | None:
        """The row with the best mean test score, or None.

        Rows with a run that diverged do not count, nor does training on pooled data, which is `ceiling`.
        """
        return self._best(row for row in self.rows if not row.get("pooled"))

    @property
    def ceiling(self) -> Mapping[str, Any] | None:
        """The best row that trains on the data of all clients pooled: what no method without them is to reach."""
        return self._best(row for row in self.rows if row.get("pooled"))

    def plot(self) -> Figure:
        """Return a figure of the test score over the number that varies; without one, a point per configuration."""
        from sglr.report.notebook import sweep_plot

        return sweep_plot(self.rows)

    def record(self) -> dict[str, Any]:
        """Return what ``sweep.json`` holds."""
        picked = {"best": self.best, "ceiling": self.ceiling}
        labels = {name: None if row is None else row["label"] for name, row in picked.items()}
        return {"keys": self.keys, **labels, "rows": list(self.rows)}

    def columns(self) -> list[ResultColumn]:
        """Return the columns: what tells configurations apart, then figures."""
        name = [ResultColumn("name", lambda row: row["name"] or NONE)] if any(row["name"] for row in self.rows) else []
        balanced = [BALANCED] if self.is_unequal else []
        return [*name, *map(_value_column, self.keys), self.headline, *balanced, SENT_UP, SENT_DOWN, TIME]

    def _best(self, rows: Iterable[Mapping[str, Any]]) -> Mapping[str, Any] | None:
        score = self.score
        sound = [row for row in rows if not row["diverged"] and row["test"].get(score.name) is not None]
        return max(sound, key=lambda row: score.rank(float(row["test"][score.name])), default=None)


def _value_column(key: str) -> ResultColumn:
    return ResultColumn(key, lambda row: written(row["values"][key]))


def make_row(configuration: Configuration, outcomes: Sequence[Outcome], folder: Path) -> dict[str, Any]:
    """Return the row of a configuration: what its runs, one for every seed, came to."""
    method, scores = configuration.experiments[0].method, [one.score for one in outcomes]
    figures = row_figures(outcomes, folder)
    return {
        "label": configuration.label,
        "name": configuration.experiments[0].name,
        "method": method,
        "pooled": method in METHODS.names() and bool(METHODS.load(method).pooled),
        "values": dict(configuration.values),
        **({"accuracies": scores} if ACCURACY in figures["test"] else {}),
        "scores": scores,
        **figures,
        "seconds": sum(one.seconds for one in outcomes) / len(outcomes),
    }
