"""Examples of what a segmentation predicts, for the report: pictures with their true and predicted masks."""

from __future__ import annotations

import json
from typing import Any

import torch
from torch import Tensor

from sglr.assembly.load_model import trained_segments
from sglr.assembly.parts import Training
from sglr.report.examples import EXAMPLES
from sglr.report.task_figures import Example
from sglr.runs.folder import Run
from sglr.storage.files import write_text

SHOWN = 4
"""Samples of the test, evenly spaced."""

LARGEST = 160
"""Pixels along a side; of larger pictures every second, third, ... is shown."""


def write_examples(run: Run, built: Training) -> None:
    """Write ``examples.json`` into a run's folder, if its targets are masks and its test samples are here."""
    targets = built.data.targets
    masks = targets.classes > 1 and len(targets.shape) > 1 and targets.shape[-2:] == built.data.test.inputs.shape[-2:]
    if masks and len(built.data.test) and not built.trainer.engine.loses_clients:
        write_text(run.path / EXAMPLES, json.dumps({"examples": examples_of(built)}) + "\n")


def examples_of(built: Training) -> list[Example]:
    """Return some test samples with what the first client's segment and the server's, as they stand, make of them."""
    test = built.data.test
    chosen = test.select(torch.linspace(0, len(test) - 1, min(SHOWN, len(test))).long())
    lower, upper, tail = trained_segments(built, 0)
    with torch.no_grad():
        predicted = tail(upper(lower(chosen.tensor))).argmax(1)
    return [
        Example(picture=_plane(picture.mean(0)), truth=_plane(truth), prediction=_plane(mask))
        for picture, truth, mask in zip(chosen.tensor, chosen.targets, predicted, strict=True)
    ]


def _plane(values: Tensor) -> list[list[Any]]:
    """Return the middle slice of ``[..., height, width]``, no larger than a page shows."""
    while values.dim() > 2:
        values = values[len(values) // 2]
    step = -(-max(values.shape) // LARGEST)
    shown = values[::step, ::step]
    found: list[list[Any]] = (shown.double().round(decimals=3) if shown.is_floating_point() else shown).tolist()
    return found
