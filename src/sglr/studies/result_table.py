"""The table of a study's results: one row per configuration, the same columns for a comparison and a sweep."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from sglr.core.errors import UsageError
from sglr.report.numbers import NONE, clock, count, duration, percent, size
from sglr.report.score_style import ScoreStyle, headline_of_rows
from sglr.storage.files import write_text
from sglr.storage.json_files import read_object
from sglr.system.extras import require

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

Row = Mapping[str, Any]

UNEQUAL = 0.02
"""Difference from the accuracy at which tables show the balanced accuracy: classes are not equally frequent."""


@dataclass(frozen=True)
class ResultColumn:
    """A column of the table: its heading, and how a row's figure is written."""

    heading: str
    write: Callable[[Row], str]


def test_figure(row: Row, score: ScoreStyle) -> str:
    """Write a row's mean test score with its standard deviation over seeds; "diverged" where no run finished."""
    mean, half = (row["test"].get(name) for name in (score.name, f"{score.name}_sd"))
    return "diverged" if mean is None else f"{score.write(mean)} {score.spread(half)}".strip()


BALANCED = ResultColumn("balanced accuracy", lambda row: percent(row["test"].get("balanced_accuracy")))
BEST_EPOCH = ResultColumn("best epoch", lambda row: NONE if row["best_epoch"] is None else f"{row['best_epoch']:.3g}")
SENT_UP = ResultColumn("sent up", lambda row: size(row["communication"]["up_bytes"]))
SENT_DOWN = ResultColumn("sent down", lambda row: size(row["communication"]["down_bytes"]))
TIME = ResultColumn("time", lambda row: duration(row["seconds"]))
MODELLED_TIME = ResultColumn("modelled time", lambda row: clock(row.get("modelled_seconds")))
SPEED = ResultColumn("samples /s", lambda row: count(row["samples_per_second"]))


OF_STUDIES = frozenset({"FILE", "STUDY", "columns", "headline", "is_unequal", "over_clients", "record", "write"})
"""What only studies use; a prompt doesn't offer it."""


@dataclass(frozen=True, repr=False)
class ResultTable(ABC):
    """The results of a study.

    Parameters
    ----------
    path
        The study's folder.
    rows
        One mapping per configuration: ``label``, ``method``, and what `sglr.studies.figures.row_figures` returns.
    """

    path: Path
    rows: Sequence[Row]

    FILE: ClassVar[str]
    """The file in the study's folder that holds `record`."""
    STUDY: ClassVar[str]
    """What messages call the study."""

    @property
    def score(self) -> ScoreStyle:
        """What the rows are ranked by."""
        return headline_of_rows(self.rows)

    @property
    def headline(self) -> ResultColumn:
        """The column of the test's score."""
        score = self.score
        return ResultColumn(f"test {score.title}", lambda row: test_figure(row, score))

    @property
    def over_clients(self) -> ResultColumn:
        """The column of the score's spread over clients."""
        score, key = self.score, f"{self.score.name}_std_over_clients"
        return ResultColumn("± over clients", lambda row: score.spread(row["test"].get(key)) or NONE)

    @abstractmethod
    def columns(self) -> list[ResultColumn]:
        """Return the columns of the table."""

    def record(self) -> dict[str, Any]:
        """Return what the study's JSON file holds."""
        return {"rows": list(self.rows)}

    def headings(self) -> tuple[str, ...]:
        """Return the headings of the table's columns."""
        return tuple(column.heading for column in self.columns())

    def table(self) -> list[tuple[str, ...]]:
        """Return the rows as people read them, in the columns of `headings`."""
        columns = self.columns()
        return [tuple(column.write(row) for column in columns) for row in self.rows]

    def notes(self) -> list[str]:
        """Return a line for every run that diverged."""
        return [f"{row['label']}, {note}" for row in self.rows for note in row["diverged"]]

    @property
    def is_unequal(self) -> bool:
        """Whether the balanced accuracy of any row is far from its accuracy."""
        pairs = [(row["test"].get("accuracy"), row["test"].get("balanced_accuracy")) for row in self.rows]
        return any(one is not None and other is not None and abs(one - other) >= UNEQUAL for one, other in pairs)

    def to_frame(self) -> DataFrame:
        """Return the rows as a table, a column for each figure, such as ``test/accuracy``; the index is the label.

        Raises
        ------
        UsageError
            If pandas is not installed.
        """
        require("data", self.STUDY, self.path, "pandas")
        from pandas import json_normalize

        frame = json_normalize([dict(row) for row in self.rows], sep="/")
        return frame.set_index("label") if len(frame) else frame

    @abstractmethod
    def plot(self) -> Figure:
        """Return a figure of the results, as in the report."""

    def __repr__(self) -> str:
        from sglr.report.notebook import table_text

        return table_text(f"<{type(self).__name__} {self.path}>", self.headings(), self.table())

    def _repr_html_(self) -> str:
        from sglr.report.notebook import table_html

        runs = sum(len(row["runs"]) for row in self.rows)
        title = f"{type(self).__name__} of {runs} runs"
        return table_html(title, self.headings(), self.table(), self.path) + "".join(
            f"<p>{escape(note)}</p>" for note in self.notes()
        )

    def __dir__(self) -> list[str]:
        return [name for name in super().__dir__() if not name.startswith("_") and name not in OF_STUDIES]

    def write(self) -> Self:
        """Write the study's JSON file, and return the results."""
        write_text(self.path / self.FILE, json.dumps(self.record(), indent=2) + "\n")
        return self

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read the results of a study from its folder.

        Raises
        ------
        UsageError
            If the file is missing or damaged.
        """
        try:
            found = cls(folder, (read_object(folder / cls.FILE) or {})["rows"])
            found.headings(), found.table(), found.notes(), found.record()
        except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
            problem = f"its {cls.FILE} cannot be read ({type(error).__name__}: {error})"
            raise UsageError(cls.STUDY, folder, problem, f"run the same {cls.STUDY} again") from error
        return found
