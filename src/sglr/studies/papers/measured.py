"""What an artefact shows, in plain values that a report can draw; and the grid of figures that most of them share."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from sglr.studies.figures import mean, spread
from sglr.studies.papers.claims import Figures
from sglr.studies.papers.declared import Artefact, PaperTrial
from sglr.studies.scheduler.outcome import Outcome

Outcomes = Mapping[str, Outcome]
"""Outcomes of experiments by the fingerprint of their settings."""


@dataclass
class MeasuredArtefact:
    """What came out for one artefact.

    Parameters
    ----------
    tables, charts, pictures
        As `sglr.report.reproduction.write_reproduction_report` takes them.
    figures
        The figures that claims are judged by, by the name of the measure.
    notes
        What a reader must know, a line each.
    """

    tables: list[dict[str, Any]] = field(default_factory=list)
    charts: list[dict[str, Any]] = field(default_factory=list)
    pictures: list[dict[str, Any]] = field(default_factory=list)
    figures: dict[str, Figures] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


class ArtefactKind(Protocol):
    """A way to turn finished runs into what an artefact shows: the function ``measure`` of a file in ``kinds``."""

    def __call__(self, artefact: Artefact, outcomes: Outcomes, folder: Path) -> MeasuredArtefact:
        """Return what the artefact shows; ``folder`` is for what may be kept between two calls."""
        ...


def outcome_of(trial: PaperTrial, outcomes: Outcomes) -> Outcome:
    """Return what became of a trial."""
    return outcomes[trial.experiment.fingerprint()]


def grid(
    artefact: Artefact, figures: Figures, *, caption: str, unit: str, notes: Mapping[tuple[str, str], str] | None = None
) -> dict[str, Any]:
    """Return the table of an artefact: the paper's figure, ours over the seeds, and the difference.

    Parameters
    ----------
    artefact
        The artefact.
    figures
        Figures by row, column and seed.
    caption, unit
        What the figures are.
    notes
        Notes on places of the grid, such as a run that diverged.
    """
    notes = notes or {}
    return {
        "caption": caption,
        "unit": unit,
        "row_title": artefact.options.get("row_title", ""),
        "rows": list(artefact.rows),
        "columns": [column.label for column in artefact.columns],
        "cells": [
            [
                place(
                    column.paper.get(row),
                    [value for (a, b, _), value in figures.items() if (a, b) == (row, column.label)],
                    notes.get((row, column.label), ""),
                )
                for column in artefact.columns
            ]
            for row in artefact.rows
        ],
    }


def place(paper: float | None, values: Sequence[float], note: str = "") -> dict[str, Any]:
    """Return one cell of a table: the paper's figure beside the mean and spread of ours."""
    ours = mean(values)
    return {
        "paper": paper,
        "ours": ours,
        "spread": spread(values),
        "difference": None if paper is None or ours is None else ours - paper,
        "runs": len(values),
        "note": note,
    }


def divergences(artefact: Artefact, outcomes: Outcomes) -> dict[tuple[str, str], str]:
    """Return a note for every place of the grid where a run diverged."""
    notes: dict[tuple[str, str], list[str]] = {}
    for trial in artefact.trials:
        problem = outcome_of(trial, outcomes).problem
        if problem is not None:
            where = re.search(r"in epoch \d+, step \d+|after \d+ steps", problem)
            told = f"diverged {where.group() if where else ''}".strip()
            notes.setdefault((trial.row, trial.column), []).append(f"{told} (seed {trial.seed})")
    return {where: "; ".join(told) for where, told in notes.items()}


def collect(
    artefact: Artefact, outcomes: Outcomes, read: Callable[[Outcome], float | None]
) -> dict[tuple[str, str, int], float]:
    """Return a figure of every trial that has one, by row, column and seed."""
    values = {(trial.row, trial.column, trial.seed): read(outcome_of(trial, outcomes)) for trial in artefact.trials}
    return {where: value for where, value in values.items() if value is not None}
