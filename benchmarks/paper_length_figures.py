"""The figures of the trainings of the paper's length, and the claims of the paper that are judged by them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sglr.runs.folder import SUMMARY
from sglr.studies.scheduler.outcome import read_outcome
from sglr.studies.scheduler.trial import Trial
from which_method_figures import Cell, Difference, Known, Rows, cell, difference, holm, read_record

COMMON, INDEPENDENT, ALIKE, BOTH = "common", "independent", "alike by law", "both"
"""How clients begin: with the same first weights, with their own as in the paper, or alike whatever is set."""

STARTS_ALIKE = ("sfl", "fl", "cl")
"""Methods whose clients begin alike, whatever ``init`` says."""

SURE = 0.05
"""A claim holds, or fails, where its corrected p-value is smaller."""


@dataclass(frozen=True)
class LongRun(Cell):
    """What one training of the paper's length came to: a cell, and what is kept of it beside.

    Parameters
    ----------
    start
        How its clients begin.
    best_epoch
        The epoch whose weights were tested: the best by the validation.
    test_loss, test_spread
        Mean loss on the test data; the standard deviation of accuracy over clients, in points.
    last
        Validation accuracy after the last epoch, in %.
    server_flops
        Operations of the server.
    joules
        Modelled energy of clients, server and network.
    curve
        For each epoch that was validated: its number, training loss, and validation accuracy in % and loss.
    took
        Seconds of training, validation and test.
    date, machine
        When it was over, and where it ran.
    """

    start: str = ""
    best_epoch: int | None = None
    test_loss: float | None = None
    test_spread: float | None = None
    last: float | None = None
    server_flops: float | None = None
    joules: float | None = None
    curve: tuple[tuple[float, ...], ...] = ()
    took: float | None = None
    date: str = ""
    machine: str = ""


def read_long_record(path: Path) -> Known:
    """Return the runs of a record, by grid, division and fingerprint; none if there is no such file."""
    return read_record(path, LongRun)


def long_run(grid: str, trial: Trial, known: Known) -> LongRun | None:
    """Return what a trial came to, here or as the record has it, or None if it is not over."""
    own = cell(grid, "iid", trial, known)
    if own is None or isinstance(own, LongRun):
        return own
    return LongRun(**asdict(own), **_beside(trial))


def _beside(trial: Trial) -> dict[str, Any]:
    outcome = read_outcome(trial.experiment, trial.path)
    assert outcome is not None, "it is over"
    method, summary = trial.experiment.method, outcome.run.summary
    start = ALIKE if method in STARTS_ALIKE else str(trial.experiment.init)
    if summary is None or outcome.problem is not None:
        return {"start": start}
    history = [row for row in outcome.run.history if "validation_accuracy" in row]
    over = datetime.fromtimestamp((trial.path / SUMMARY).stat().st_mtime, UTC)
    machine, torch = summary["machine"], summary["versions"]["torch"]
    return {
        "start": start,
        "best_epoch": summary["test"]["epoch"],
        "test_loss": round(summary["test"]["loss"], 5),
        "test_spread": round(100 * (summary["test"]["accuracy_std_over_clients"] or 0.0), 3),
        "last": round(100 * history[-1]["validation_accuracy"], 3),
        "server_flops": summary["computation"]["server_flops"],
        "joules": summary["energy"]["modelled"]["total_joules"],
        "curve": tuple(map(_point, history)),
        "took": round(outcome.seconds, 1),
        "date": f"{over:%Y-%m-%d}",
        "machine": f"{machine['processor']}, {machine['cores']} cores, torch {torch}",
    }


def _point(row: Mapping[str, Any]) -> tuple[float, ...]:
    accuracy, loss = 100 * row["validation_accuracy"], row["validation_loss"]
    return int(row["epoch"]), float(f"{row['loss']:.4g}"), round(accuracy, 3), round(loss, 5)


@dataclass(frozen=True)
class Claim:
    """That one method is above another by more than so many points.

    Parameters
    ----------
    grid, start
        Where it is judged.
    says
        The claim.
    above, below
        The two methods, as they are written in the grid.
    margin
        How far it must be above; below zero, how far it may be behind.
    paper
        How far it is above in the paper, in points; None where the paper has no such pair.
    """

    grid: str
    start: str
    says: str
    above: str
    below: str
    paper: float | None
    margin: float = 0.0


SGLR, APART, TOGETHER = "sglr:alpha=0.5,phi=0.75", "init=independent", "init=common"


def _of_table_4(grid: str) -> list[Claim]:
    pairs = [(COMMON, SGLR, "psl"), (INDEPENDENT, f"{SGLR},{APART}", f"psl:{APART}")]
    papers = [
        claim
        for start, ours, plain in pairs
        for claim in (
            Claim(grid, start, "SGLR is above SplitFed", ours, "sfl", 3.3),
            Claim(grid, start, "SplitFed is above PSL", "sfl", plain, 1.3),
            Claim(grid, start, "SGLR is above PSL", ours, plain, 4.6),
            Claim(grid, start, "SGLR is within a point of FL, or above", ours, "fl", -0.4, -1.0),
        )
    ]
    both = [("SGLR", SGLR, f"{SGLR},{APART}"), ("PSL", "psl", f"psl:{APART}")]
    return [*papers, *(Claim(grid, BOTH, f"{name} gains by a common start", *pair, None) for name, *pair in both)]


def _of_table_2(grid: str) -> list[Claim]:
    alike, plain, shared = f"{SGLR},{TOGETHER}", f"psl:{TOGETHER}", f"sfl:{TOGETHER}"
    return [
        Claim(grid, COMMON, "SGLR is above PSL", alike, plain, 1.78),
        Claim(grid, COMMON, "SGLR is above SplitFed", alike, shared, None),
        Claim(grid, INDEPENDENT, "SGLR is above PSL", SGLR, "psl", 1.78),
        Claim(grid, INDEPENDENT, "SplitLr is above PSL", "slr:alpha=0.5", "psl", 0.46),
        Claim(grid, INDEPENDENT, "SplitAvg is above PSL", "sgl:phi=0.75", "psl", 1.24),
        Claim(grid, INDEPENDENT, "SGLR is above SplitFed", SGLR, shared, None),
        Claim(grid, BOTH, "SGLR gains by a common start", alike, SGLR, None),
        Claim(grid, BOTH, "PSL gains by a common start", plain, "psl", None),
    ]


CLAIMS = (*_of_table_4("table4-cnn"), *_of_table_2("table2-six-clients"), *_of_table_4("table4-alexnet"))
"""What the paper says, in the tables whose trainings are here, once for each start; and what the start itself does."""

PAPER: Mapping[str, Mapping[str, float]] = {
    "table4-cnn": {"sglr": 89.3, "sfl": 86.0, "psl": 84.7, "fl": 89.7, "cl": 90.5},
    "table4-alexnet": {"sglr": 89.3, "sfl": 86.0, "psl": 84.7, "fl": 89.7, "cl": 90.5},
    "table2-six-clients": {"sglr": 84.62, "psl": 82.84, "slr": 83.3, "sgl": 84.08},
}
"""The paper's accuracies, by grid and method; those of Table 4 are AlexNet's, those of Table 2 of 32 x 32 pixels."""


@dataclass(frozen=True)
class Judged:
    """A claim, the measured difference less its margin, and what follows."""

    claim: Claim
    gap: Difference | None

    @property
    def verdict(self) -> str:
        """Whether it holds, by the corrected test of paired seeds."""
        if self.gap is None:
            return "not run yet"
        if self.gap.p is None:
            return "one seed: no test"
        over = self.gap.mean - self.claim.margin
        if self.gap.p >= SURE:
            return "undecided"
        return "**holds**" if over > 0 else "**fails**"


def judged(found: Rows, grids: Iterable[str]) -> list[Judged]:
    """Judge the claims of some grids, with p-values corrected by Holm's method for those of one grid."""
    every = []
    for grid in grids:
        own = [claim for claim in CLAIMS if claim.grid == grid]
        gaps = {place: gap for place, claim in enumerate(own) if (gap := _tested(found, claim)) is not None}
        corrected = holm(gaps)
        every += [Judged(claim, corrected.get(place)) for place, claim in enumerate(own)]
    return every


def _tested(found: Rows, claim: Claim) -> Difference | None:
    """Return how far one method is above the other, with the p-value of its being away from the margin."""
    one, other = (found.get((claim.grid, "iid", method)) for method in (claim.above, claim.below))
    if one is None or other is None:
        return None
    if claim.margin:
        moved = [_moved(own, -claim.margin) for own in one.cells]
        against = difference(moved, other.cells)
        plain = difference(one.cells, other.cells)
        if against is None or plain is None:
            return None
        return Difference(plain.mean, plain.half, plain.pairs, against.p)
    return difference(one.cells, other.cells)


def _moved(own: Cell, by: float) -> Cell:
    values = asdict(own) | {"accuracy": None if own.accuracy is None else own.accuracy + by}
    return type(own)(**values)
