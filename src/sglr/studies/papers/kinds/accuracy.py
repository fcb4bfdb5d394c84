"""A table of test accuracies."""

from __future__ import annotations

from pathlib import Path

from sglr.studies.papers.declared import Artefact
from sglr.studies.papers.measured import MeasuredArtefact, Outcomes, collect, divergences, grid

CHANCE = 10.0
"""Accuracy of guessing one of ten classes, in per cent: the figure by which claims count a run that diverged."""


def measure(artefact: Artefact, outcomes: Outcomes, folder: Path) -> MeasuredArtefact:
    """Return accuracies on the test data: every client's segment with the server's, averaged over clients."""
    del folder
    notes = divergences(artefact, outcomes)
    figures = collect(artefact, outcomes, lambda one: None if one.accuracy is None else 100 * one.accuracy)
    counted = collect(artefact, outcomes, lambda one: CHANCE if one.accuracy is None else 100 * one.accuracy)
    table = grid(artefact, figures, caption="Top-1 accuracy on the test data", unit="%", notes=notes)
    said = [f"In claims, a run that diverged counts as {CHANCE:g} %, pure chance."] if notes else []
    if "1" in artefact.rows:
        said.append("With one client all columns are the same by law; it was trained once.")
    return MeasuredArtefact(tables=[table], figures={"accuracy": counted}, notes=said)
