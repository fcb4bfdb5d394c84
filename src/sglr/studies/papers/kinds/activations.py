"""Activation maps at the cut of one test image, for every column."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from sglr.leakage.measure_clients import MAPS, activation_maps
from sglr.leakage.open_run import open_run
from sglr.studies.papers.declared import Artefact
from sglr.studies.papers.measured import MeasuredArtefact, Outcomes, divergences, outcome_of


def measure(artefact: Artefact, outcomes: Outcomes, folder: Path) -> MeasuredArtefact:
    """Return the image and, for every column, what client 0 sends of it after training with the first seed."""
    del folder
    rows = []
    image: Tensor | None = None
    for trial in artefact.trials:
        outcome = outcome_of(trial, outcomes)
        if trial.seed != artefact.seeds[0] or outcome.problem is not None:
            continue
        target = open_run(outcome.run).target(0)
        image = target.unseen.inputs[:1]
        rows.append({"label": trial.column, "images": [one.tolist() for one in activation_maps(target.send, image)]})
    if image is not None:
        rows.insert(0, {"label": "image", "images": [image[0].mean(0).tolist()]})
    picture = {
        "title": "What client 0 sends of one test image",
        "note": f"The {MAPS} channels of the cut that vary most over the image, each scaled for itself.",
        "rows": rows,
    }
    notes = [f"{column}: {told}" for (_, column), told in divergences(artefact, outcomes).items()]
    return MeasuredArtefact(pictures=[picture], notes=notes)
