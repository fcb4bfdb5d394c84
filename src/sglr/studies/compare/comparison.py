"""The result of a comparison: one row per method, in ``comparison.json`` and as a table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sglr.report.numbers import clock
from sglr.report.score_style import ScoreStyle, headline_of_rows
from sglr.storage.files import write_text
from sglr.studies.figures import row_figures
from sglr.studies.result_table import (
    BALANCED,
    BEST_EPOCH,
    MODELLED_TIME,
    SENT_DOWN,
    SENT_UP,
    SPEED,
    TIME,
    ResultColumn,
    ResultTable,
)
from sglr.studies.scheduler.outcome import Outcome

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COMPARISON, TABLE = "comparison.json", "comparison.md"


class Comparison(ResultTable):
    """The result of a comparison; every run is in a folder of its own inside ``path``.

    ``rows`` has one mapping per method, the best first: ``label``, ``method``, ``parameters``, ``seeds``, ``runs``
    (folder names), ``diverged`` (how runs diverged), and over the other runs the means of ``test.accuracy`` (with its
    standard deviation over seeds, ``test.accuracy_sd``), ``test.accuracy_std_over_clients``, ``best_epoch``,
    ``communication``, ``seconds``, ``samples_per_second``. For other tasks the name of their score takes the place of
    ``accuracy``; ``test.headline`` tells it. With a clock there are ``modelled_seconds``, and ``time_to``: a ``score``
    and the modelled ``seconds`` to it, None where a run does not reach it.
    """

    FILE, STUDY = COMPARISON, "comparison"

    def columns(self) -> list[ResultColumn]:
        """Return the columns; balanced accuracy, where it tells more, takes the place of the spread over clients."""
        method = ResultColumn("method", lambda row: str(row["label"]))
        fourth = BALANCED if self.is_unequal else self.over_clients
        modelled = self._modelled()
        # A terminal has room for no more columns.
        return [
            method,
            self.headline,
            fourth,
            BEST_EPOCH,
            SENT_UP,
            SENT_DOWN,
            *modelled,
            *([] if modelled else [TIME, SPEED]),
        ]

    def _modelled(self) -> list[ResultColumn]:
        """Return the columns of times on simulated clocks, where there are any."""
        if not any(row.get("modelled_seconds") is not None for row in self.rows):
            return []
        told = next((row["time_to"] for row in self.rows if row.get("time_to")), None)
        if told is None:
            return [MODELLED_TIME]
        to = ResultColumn(
            f"to {self.score.write(told['score'])}", lambda row: clock((row["time_to"] or {}).get("seconds"))
        )
        return [MODELLED_TIME, to]

    def with_paths(self) -> list[dict[str, Any]]:
        """Return the rows with the runs' whole paths."""
        return [{**row, "runs": [self.path / run for run in row["runs"]]} for row in self.rows]

    def plot(self) -> Figure:
        """Return a figure of the validation score over epochs, one line per method, as in the report."""
        from sglr.report.notebook import comparison_plot

        return comparison_plot(self.with_paths())

    def markdown(self) -> str:
        """Return the table as Markdown, with what is needed to read it."""
        headings = self.headings()
        lines = [headings, ("---", *["---:"] * (len(headings) - 1)), *self.table()]
        text = "".join(f"| {' | '.join(cells)} |\n" for cells in lines)
        how = f"Test {self.score.title} is ± the standard deviation over seeds"
        how += ".\n" if self.is_unequal else ", and it spreads over clients by ± their own.\n"
        parameters = "".join(_parameter_line(row) for row in self.rows if row["parameters"])
        how += "" if self.score.higher_is_better else f"Less {self.score.title} is better.\n"
        diverged = "".join(f"- diverged: {note}\n" for note in self.notes())
        return "\n".join(filter(None, ["# Comparison\n", text, how, parameters, diverged]))


def make_row(label: str, outcomes: Sequence[Outcome], folder: Path) -> dict[str, Any]:
    """Return the row of a method: what its runs, one for every seed, came to."""
    experiment = outcomes[0].experiment
    return {
        "label": label,
        "method": experiment.method,
        "parameters": experiment.method_parameters,
        **row_figures(outcomes, folder),
    }


def write_comparison(folder: Path, rows: Sequence[Mapping[str, Any]]) -> Comparison:
    """Write a comparison's files, the best method first."""
    score = headline_of_rows(rows)
    comparison = Comparison(folder, sorted(rows, key=lambda row: _place(row, score))).write()
    write_text(folder / TABLE, comparison.markdown())
    return comparison


def _parameter_line(row: Mapping[str, Any]) -> str:
    values = ", ".join(f"{name} = {value}" for name, value in row["parameters"].items())
    return f"- {row['label']}: {values}\n"


def _place(row: Mapping[str, Any], score: ScoreStyle) -> float:
    mean = row["test"].get(score.name)
    return math.inf if mean is None else -score.rank(float(mean))
