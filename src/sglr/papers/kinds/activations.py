"""Activation maps at the cut of one test image, for every column."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from sglr.build import Built, build
from sglr.papers.declared import Artefact
from sglr.papers.measured import Measured, Outcomes, divergences, outcome_of
from sglr.trained import restored, trained_segments

MAPS = 8
"""Channels shown, those that vary most over the image."""


def measure(artefact: Artefact, outcomes: Outcomes, folder: Path) -> Measured:
    """Return the image and, for every column, what client 0 sends of it after training with the first seed."""
    del folder
    rows = []
    image: Tensor | None = None
    for cell in artefact.cells:
        outcome = outcome_of(cell, outcomes)
        if cell.seed != artefact.seeds[0] or outcome.problem is not None:
            continue
        built = restored(outcome.run, build(outcome.experiment))
        image = built.data.test.inputs[:1]
        rows.append({"label": cell.column, "images": [one.tolist() for one in _maps(built, image)]})
    if image is not None:
        rows.insert(0, {"label": "image", "images": [image[0].mean(0).tolist()]})
    picture = {
        "title": "What client 0 sends of one test image",
        "note": f"The {MAPS} channels of the cut that vary most over the image, each scaled for itself.",
        "rows": rows,
    }
    notes = [f"{column}: {told}" for (_, column), told in divergences(artefact, outcomes).items()]
    return Measured(pictures=[picture], notes=notes)


def _maps(built: Built, image: Tensor) -> Tensor:
    """Return the liveliest channels ``[m, height, width]`` of what client 0 sends of an image."""
    with torch.no_grad():
        smashed: Tensor = trained_segments(built, 0).lower(image)[0]
    if smashed.dim() != 3:
        return smashed.reshape(1, 1, -1)
    liveliest = smashed.flatten(1).std(1).topk(min(MAPS, len(smashed))).indices
    return smashed[liveliest.sort().values]
