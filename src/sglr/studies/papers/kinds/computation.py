"""A table of test accuracies with the computation of one client beside them."""

from __future__ import annotations

from pathlib import Path

from sglr.studies.papers.claims import Figures
from sglr.studies.papers.declared import Artefact
from sglr.studies.papers.kinds import accuracy
from sglr.studies.papers.measured import MeasuredArtefact, Outcomes, collect, place
from sglr.studies.scheduler.outcome import Outcome

PETA = 1e15


def measure(artefact: Artefact, outcomes: Outcomes, folder: Path) -> MeasuredArtefact:
    """Return accuracies, and each method's computation per client by the paper's rule, as a share of the central one.

    The paper's rule counts add-multiplies twice and a backward pass as two forward ones. Claims may be judged by
    ``accuracy``, ``share_of_central`` and ``saved_against_federated``.
    """
    measured = accuracy.measure(artefact, outcomes, folder)
    flops = collect(artefact, outcomes, _client_flops)
    paper = artefact.options["pflops"]
    central, federated = (
        {where[1:]: value for where, value in flops.items() if where[0] == row} for row in ("CL", "FL")
    )
    share = {where: value / central[where[1:]] for where, value in flops.items() if where[1:] in central}
    saved = {where: 1 - value / federated[where[1:]] for where, value in flops.items() if where[1:] in federated}
    full = artefact.scale == "full"
    table = {
        "caption": "Computation of one client by the paper's counting rule",
        "unit": "",
        "row_title": artefact.options["row_title"],
        "rows": list(artefact.rows),
        "columns": ["PFLOPs", "share of CL's"],
        "cells": [
            [
                place(paper[row] if full else None, [value / PETA for value in _of_row(flops, row)]),
                place(paper[row] / paper["CL"], _of_row(share, row)),
            ]
            for row in artefact.rows
        ],
    }
    measured.tables.append(table)
    measured.figures |= {"share_of_central": share, "saved_against_federated": saved}
    measured.notes.append(
        "The paper does not say which AlexNet it used, with which data and for how many epochs; so shares can be "
        "compared, not PFLOPs."
    )
    return measured


def _of_row(figures: Figures, row: str) -> list[float]:
    """Return a row's different values: counts are the same for every seed."""
    return sorted({value for (name, _, _), value in figures.items() if name == row})


def _client_flops(outcome: Outcome) -> float | None:
    summary = outcome.run.summary
    if outcome.problem is not None or summary is None:
        return None
    counted = summary["computation"].get("paper")  # nothing, where counting failed
    return None if counted is None else float(counted["client_flops"])
