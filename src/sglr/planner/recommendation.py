"""Which method to take, by the rows of the study of all methods."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

from sglr.core.spec import Spec
from sglr.planner.study import Study, StudyRow

ALLOWED = {"kept": frozenset({"kept"}), "shared": frozenset({"kept", "shared"})}
"""What a user allows who wants client weights kept, and one who lets them be shared."""

TIE = 0.5
"""Points within which methods count as equally accurate: one that shares no weights, and sends less, is then taken."""

WHOLE = 0.7
"""Share of the most methods anywhere that a data set needs in a division to be counted."""

PAPERS_START = "init=independent"
"""Marks rows that repeat the paper's start; a common one costs nothing, so that they are not recommended."""


@dataclass(frozen=True)
class Evidence:
    """A row of the recommended method, and the best row that is allowed on the same data and division."""

    row: StudyRow
    best: StudyRow

    @property
    def behind(self) -> float:
        """How many points the method is below the best."""
        return self.best.accuracy - self.row.accuracy


@dataclass(frozen=True)
class Recommendation:
    """A method, and the rows that speak for it.

    Parameters
    ----------
    allows
        ``"kept"``: of the methods whose client weights stay with the clients. ``"shared"``: of all.
    method
        As it is written for ``sglr compare``.
    evidence
        Row by row.
    """

    allows: str
    method: str
    evidence: Sequence[Evidence]

    @property
    def behind(self) -> float:
        """How many points the method is below the best of each row, on average."""
        return fmean(one.behind for one in self.evidence)

    @property
    def most_behind(self) -> float:
        """The same in its worst row."""
        return max(one.behind for one in self.evidence)

    @property
    def shares(self) -> bool:
        """Whether the method itself shares client weights."""
        return self.evidence[0].row.weights == "shared"

    @property
    def command(self) -> str:
        """The command that trains with it."""
        spec = Spec.parse("method", self.method)
        options = [f"--{key.replace('_', '-')} {value}" for key, value in spec.texts().items()]
        return " ".join(["sglr train --method", spec.name, *options])

    def record(self) -> dict[str, Any]:
        """Return it as JSON."""
        rows = [
            {**asdict(one.row), "best": {"method": one.best.method, "accuracy": one.best.accuracy}}
            for one in self.evidence
        ]
        told = {"behind": round(self.behind, 2), "most_behind": round(self.most_behind, 2)}
        return {"allows": self.allows, "method": self.method, "command": self.command, **told, "rows": rows}


def recommend(study: Study, allows: str, *, skew: str | None = None, model: str | None = None) -> Recommendation:
    """Recommend a method.

    It is the one whose mean distance to the best allowed method, over all rows that bear on it, is smallest; within
    `TIE` points of that, one that keeps client weights where they are. What the study has few methods for is left out
    (`WHOLE`), and so is a method that has not most of the other rows.

    Parameters
    ----------
    study
        The rows.
    allows
        A name of `ALLOWED`.
    skew
        How clients' data differ, as `Study.nearest` takes it; None is unknown, so that all divisions bear on it.
    model
        The user's model; None is any.

    Raises
    ------
    UsageError
        If there is no such skew.
    """
    data = study.of_model(model)
    divisions = {row.division for row in study.rows} if skew is None else {study.nearest(skew)}
    rows = [
        row
        for row in study.rows
        if row.data in data
        and row.division in divisions
        and row.weights in ALLOWED[allows]
        and PAPERS_START not in row.method
    ]
    methods = Counter(map(_place, rows))
    rows = [row for row in rows if methods[_place(row)] >= WHOLE * max(methods.values())]
    best = {place: max(_at(rows, place), key=lambda row: row.accuracy) for place in map(_place, rows)}
    own = {
        method: [row for row in rows if row.method == method] for method in dict.fromkeys(row.method for row in rows)
    }
    most = max(map(len, own.values()))
    found = [
        Recommendation(allows, method, [Evidence(row, best[_place(row)]) for row in each])
        for method, each in own.items()
        if len(each) == most
    ]
    least = min(one.behind for one in found)
    tied = [one for one in found if one.behind <= least + TIE]
    return min(tied, key=lambda one: (one.shares, one.behind))


def _place(row: StudyRow) -> tuple[str, str]:
    return row.data, row.division


def _at(rows: Sequence[StudyRow], place: tuple[str, str]) -> list[StudyRow]:
    return [row for row in rows if _place(row) == place]
