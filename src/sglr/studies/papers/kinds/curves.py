"""Curves of the validation accuracy over epochs."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from sglr.studies.papers.declared import Artefact, DeclaredColumn
from sglr.studies.papers.measured import MeasuredArtefact, Outcomes, collect, divergences, outcome_of
from sglr.studies.scheduler.outcome import Outcome

EARLY = 0.5
"""The share of the epochs in which a curve's rise is judged."""


def measure(artefact: Artefact, outcomes: Outcomes, folder: Path) -> MeasuredArtefact:
    """Return one curve per column, its mean over epochs and its last value.

    Claims may be judged by ``rise``, the mean validation accuracy over the first half of the epochs, or ``end``, that
    of the last epoch, both in per cent.
    """
    del folder
    row = next(iter(artefact.rows))
    series = [_series(artefact, column, row, outcomes) for column in artefact.columns]
    chart = {
        "title": f"Validation accuracy over epochs, |C| = {row}",
        "x_title": "epoch",
        "y_title": "accuracy, %",
        "log_x": False,
        "log_y": False,
        "series": [one for one in series if one["x"]],
    }
    notes = [f"{column}: {told}" for (_, column), told in divergences(artefact, outcomes).items()]
    figures = {"rise": collect(artefact, outcomes, _rise), "end": collect(artefact, outcomes, _end)}
    return MeasuredArtefact(charts=[chart], figures=dict(figures), notes=notes)


def _validated(outcome: Outcome) -> list[tuple[int, float]]:
    """Return epochs and validation accuracies in per cent."""
    history = outcome.run.history
    return [(row["epoch"], 100 * row["validation_accuracy"]) for row in history if "validation_accuracy" in row]


def _rise(outcome: Outcome) -> float | None:
    epochs = outcome.experiment.epochs
    early = [accuracy for epoch, accuracy in _validated(outcome) if epoch <= max(1, EARLY * epochs)]
    return fmean(early) if early and outcome.problem is None else None


def _end(outcome: Outcome) -> float | None:
    points = _validated(outcome)
    return points[-1][1] if points and outcome.problem is None else None


def _series(artefact: Artefact, column: DeclaredColumn, row: str, outcomes: Outcomes) -> dict[str, Any]:
    """Return the mean curve of a column over its finished seeds, with the spread where there are several."""
    trials = [trial for trial in artefact.trials if (trial.row, trial.column) == (row, column.label)]
    ours = [outcome for trial in trials if (outcome := outcome_of(trial, outcomes)).problem is None]
    curves = [dict(_validated(outcome)) for outcome in ours]
    epochs = sorted(set.intersection(*(set(curve) for curve in curves))) if curves else []
    values = [[curve[epoch] for curve in curves] for epoch in epochs]
    return {
        "label": column.label,
        "x": epochs,
        "y": [fmean(one) for one in values],
        "spread": [stdev(one) for one in values] if len(curves) > 1 else None,
    }
