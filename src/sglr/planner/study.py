"""The study of all methods (docs/results/which-method.md) as a table, which is written with the study's page."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from sglr.core.errors import UsageError
from sglr.core.spec import Spec

FILE = Path(__file__).parent / "which_method.json"

SKEWS = "iid, dirichlet:CONCENTRATION, such as dirichlet:0.5, or shards:NUMBER, such as shards:2"


@dataclass(frozen=True)
class StudyRow:
    """What a method reached on one data set, divided in one way.

    Parameters
    ----------
    data
        The data set and its model, by the study's name.
    division
        How data are divided: ``"iid"``, ``"dirichlet-0.5"``, ``"shards-2"``.
    method
        As it is written for ``sglr compare``, such as ``"sglr:phi=1,label_prior=pooled"``.
    weights
        ``"kept"`` where client weights stay with the clients, ``"shared"`` where they do not, ``"pooled"`` where all
        data are in one place.
    seeds
        How many runs it is the mean of.
    accuracy, sd
        On test data, in %, and its standard deviation over seeds; None for one seed.
    sent_mb, client_gflop, seconds
        Of the whole training: sent by all, computed by one client, and sending over 20 Mbit/s with 50 ms a message.
    """

    data: str
    division: str
    method: str
    weights: str
    seeds: int
    accuracy: float
    sd: float | None
    sent_mb: float
    client_gflop: float
    seconds: float


@dataclass(frozen=True)
class Study:
    """All rows.

    Parameters
    ----------
    data
        What each data set was trained with: ``title``, ``model``, ``clients`` and more.
    rows
        In the study's order.
    """

    data: Mapping[str, Mapping[str, Any]]
    rows: Sequence[StudyRow]

    @classmethod
    def read(cls, path: Path = FILE) -> Self:
        """Read the table that comes with sglr, or another like it."""
        content = json.loads(path.read_text(encoding="utf-8"))
        return cls(content["data"], [StudyRow(**row) for row in content["rows"]])

    def of_methods(self, fits: Callable[[str], bool]) -> Self:
        """Return the rows of the methods whose names ``fits`` takes."""
        return replace(self, rows=[row for row in self.rows if fits(Spec.parse("method", row.method).name)])

    def of_model(self, model: str | None) -> list[str]:
        """Return the data sets that tell most of a model: those trained with it, else those with most methods.

        A data set that was too costly to train with every method speaks for its own model alone.
        """
        own = [name for name, facts in self.data.items() if facts["model"] == model]
        if own:
            return own
        methods = {name: len({row.method for row in self.rows if row.data == name}) for name in self.data}
        return [name for name, number in methods.items() if number and number >= max(methods.values()) / 2]

    def nearest(self, skew: str) -> str:
        """Return the division of the study that is nearest to a skew.

        Raises
        ------
        UsageError
            If there is no such skew.
        """
        name, _, text = skew.partition(":")
        known = {row.division for row in self.rows}
        if skew == "iid":
            return skew
        numbers = {one: float(one.partition("-")[2]) for one in sorted(known) if one.startswith(f"{name}-")}
        if not numbers:
            raise UsageError("skew", skew, "is no division of the study", f"give {SKEWS}")
        try:
            wanted = float(text)
        except ValueError:
            wanted = math.nan
        if not (math.isfinite(wanted) and wanted > 0):
            raise UsageError("skew", skew, f"has no positive number behind {name}", f"give {SKEWS}")
        return min(numbers, key=lambda one: abs(math.log(wanted / numbers[one])))
