"""The figures of the study's runs, and what is tested on them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import isfinite, sqrt
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from scipy.stats import t as student

from sglr.core.registry import METHODS
from sglr.studies.scheduler.outcome import Outcome, read_outcome
from sglr.studies.scheduler.trial import Trial

BITS_PER_SECOND, LATENCY = 20e6, 0.05
"""The link of each client: 20 Mbit/s in both directions together, 50 ms for each message."""

KEPT, SHARED, POOLED = "kept", "shared", "pooled"


@dataclass(frozen=True)
class Cell:
    """What one run came to.

    Parameters
    ----------
    data, division, method, seed
        Which it is; the method as it is written.
    weights
        ``"kept"`` where no client's weights leave it, ``"shared"`` where they do, ``"pooled"`` where all data do.
    accuracy
        On the test data after the last epoch, in %; None where the run diverged.
    sent
        Bytes, both directions, all clients.
    client_flops
        Operations of one client, the mean over clients.
    seconds
        What sending takes over the modelled link.
    fingerprint
        Of the settings that decided it.
    problem
        How it diverged, or None.
    """

    data: str
    division: str
    method: str
    seed: int
    weights: str
    accuracy: float | None
    sent: float | None
    client_flops: float | None
    seconds: float | None
    fingerprint: str
    problem: str | None = None

    def record(self) -> dict[str, Any]:
        return asdict(self)


Known = Mapping[tuple[str, str, str], Cell]
"""Cells of a record, by data set, division and fingerprint."""


def read_record(path: Path, kind: type[Cell] = Cell) -> Known:
    """Return the cells of a record that was written here or elsewhere; none if there is no such file."""
    if not path.is_file():
        return {}
    cells = [kind(**own) for own in json.loads(path.read_text(encoding="utf-8"))["cells"]]
    return {(own.data, own.division, own.fingerprint): own for own in cells}


def cell(data: str, division: str, trial: Trial, known: Known) -> Cell | None:
    """Return what a trial came to, here or as the record has it, or None if it is not over."""
    fingerprint = trial.experiment.fingerprint()
    outcome = read_outcome(trial.experiment, trial.path)
    if outcome is None:
        before = known.get((data, division, fingerprint))
        return None if before is None else replace(before, method=trial.label, seed=trial.seed)
    return Cell(data, division, trial.label, trial.seed, fingerprint=fingerprint, **_figures(outcome))


def _figures(outcome: Outcome) -> dict[str, Any]:
    summary = outcome.run.summary
    if outcome.problem is not None or summary is None or outcome.score is None:
        missing = dict.fromkeys(("accuracy", "sent", "client_flops", "seconds"))
        return {"weights": "", **missing, "problem": outcome.problem or "no score"}
    sent = summary["communication"]
    return {
        "weights": _weights(outcome.experiment.method, sent),
        "accuracy": 100 * outcome.score,
        "sent": sent["up_bytes"] + sent["down_bytes"],
        "client_flops": summary["computation"]["client_flops"]["mean"],
        "seconds": seconds(sent, asynchronous=outcome.experiment.batching.startswith("clock")),
    }


def seconds(sent: Mapping[str, Any], *, asynchronous: bool) -> float:
    """Return what sending takes over the modelled link.

    Where clients don't wait for one another it is the bytes of the one with most, and the messages of one on average:
    what the counts of steps one after another would overstate.
    """
    if not asynchronous:
        return float(sent["in_turn"]["bytes"] * 8 / BITS_PER_SECOND + sent["in_turn"]["messages"] * LATENCY)
    clients = (sent["up_bytes"] + sent["down_bytes"]) / sent["per_client_bytes"]["mean"]
    waiting = sum(number for way in sent["messages"].values() for kind, number in way.items() if kind != "labels")
    return float(sent["per_client_bytes"]["max"] * 8 / BITS_PER_SECOND + waiting / clients * LATENCY)


def _weights(method: str, communication: Mapping[str, Any]) -> str:
    if METHODS.load(method).pooled:
        return POOLED
    return SHARED if communication["by_kind"]["up"].get("weights") else KEPT


@dataclass(frozen=True)
class Row:
    """One method on one data set in one division, over seeds."""

    cells: tuple[Cell, ...]

    @property
    def finished(self) -> list[Cell]:
        return [one for one in self.cells if one.accuracy is not None]

    @property
    def weights(self) -> str:
        return next((one.weights for one in self.finished), "")

    def mean(self, name: str) -> float | None:
        found = [getattr(one, name) for one in self.finished]
        return fmean(found) if found else None

    @property
    def spread(self) -> float | None:
        found = [one.accuracy for one in self.finished if one.accuracy is not None]
        return stdev(found) if len(found) > 1 else None


Rows = Mapping[tuple[str, str, str], Row]
"""Rows by data set, division and method."""


def rows(cells: Iterable[Cell]) -> Rows:
    found: dict[tuple[str, str, str], list[Cell]] = {}
    for one in cells:
        found.setdefault((one.data, one.division, one.method), []).append(one)
    return {key: Row(tuple(own)) for key, own in found.items()}


@dataclass(frozen=True)
class Difference:
    """How far a method is above another, in points.

    Parameters
    ----------
    mean
        Over pairs of runs with the same data, division and seed.
    half
        Half of the 95 % interval by Student's t; None for one pair.
    pairs
        How many there are.
    p
        Of the paired t-test; corrected where `holm` has done so; None for one pair.
    """

    mean: float
    half: float | None
    pairs: int
    p: float | None


def difference(one: Iterable[Cell], other: Iterable[Cell]) -> Difference | None:
    """Return how far the cells ``one`` are above ``other``, paired; None without a pair."""
    base = {(cell.data, cell.division, cell.seed): cell.accuracy for cell in other}
    found = []
    for cell in one:
        against = base.get((cell.data, cell.division, cell.seed))
        if cell.accuracy is not None and against is not None:
            found.append(cell.accuracy - against)
    if not found:
        return None
    mean = fmean(found)
    if len(found) == 1:
        return Difference(mean, None, 1, None)
    error, freedom = stdev(found) / sqrt(len(found)), len(found) - 1
    half = float(student.ppf(0.975, freedom)) * error
    p = float(2 * student.sf(abs(mean) / error, freedom)) if error > 0 else (1.0 if mean == 0 else 0.0)
    return Difference(mean, half, len(found), p)


def holm(differences: Mapping[Any, Difference]) -> dict[Any, Difference]:
    """Correct the p-values of a family by Holm's method; those without one are left out of the family."""
    tested = sorted((one.p, key) for key, one in differences.items() if one.p is not None and isfinite(one.p))
    corrected, largest = dict(differences), 0.0
    for place, (p, key) in enumerate(tested):
        largest = max(largest, min(1.0, (len(tested) - place) * p))
        own = differences[key]
        corrected[key] = Difference(own.mean, own.half, own.pairs, largest)
    return corrected


def against(found: Rows, base: str, divisions: Sequence[str]) -> dict[tuple[str, str], Difference]:
    """Return how far every method is above ``base`` by method and division, over data sets and seeds, corrected."""
    differences = {}
    for method in dict.fromkeys(method for _, _, method in found if method != base):
        for division in divisions:
            own, other = (_cells(found, name, division) for name in (method, base))
            gap = difference(own, other)
            if gap is not None:
                differences[method, division] = gap
    return holm(differences)


def _cells(found: Rows, method: str, division: str) -> Iterator[Cell]:
    for (_, where, name), row in found.items():
        if (where, name) == (division, method):
            yield from row.cells


def best(found: Rows, data: str, division: str, weights: str) -> tuple[str, Row] | None:
    """Return the most accurate method of a class, after the fact."""
    own = {
        method: row
        for (of, where, method), row in found.items()
        if (of, where) == (data, division) and row.weights == weights
    }
    return max(own.items(), key=lambda item: item[1].mean("accuracy") or 0.0, default=None)
