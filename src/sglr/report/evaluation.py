"""The page of an evaluation: what a trained network's answers on new data come to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sglr.report import numbers
from sglr.report.classes import classes_section
from sglr.report.page import render
from sglr.report.score_style import headline
from sglr.report.task_section import score_tile, task_section
from sglr.storage.files import write_text

PAGE, FIGURES = "evaluation.html", "evaluation.json"
OWN = "the run's test samples"
"""What a run's own test samples are called as data."""


def write_evaluation(folder: Path, found: Mapping[str, Any]) -> Path:
    """Write the figures and their page into a folder, which is made if it isn't there; return the page's path.

    Parameters
    ----------
    folder
        The folder.
    found
        What `sglr.inference.evaluate.evaluate` returned.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / FIGURES, json.dumps(found, indent=2) + "\n")
    write_text(folder / PAGE, evaluation_page(found))
    return folder / PAGE


def evaluation_page(found: Mapping[str, Any]) -> str:
    """Return the page of an evaluation."""
    name, figure, remark = score_tile(found, headline(found))
    data = found["data"]
    weights = "its best validation epoch" if found["epoch"] is None else f"epoch {found['epoch']}"
    samples = f"its {found['samples']:,} test samples" if data == OWN else f"{found['samples']:,} samples of {data}"
    return render(
        "evaluation.html.j2",
        title=f"Evaluation on {data if data == OWN else Path(data).name}",
        sentence=(
            f"The network of {found['run']} (weights of {weights}, lower layers: {found['client']}) on {samples}."
        ),
        tiles=[
            (name, figure, remark),
            ("Loss", numbers.decimal(found["loss"]), "mean over the samples"),
            ("Samples", numbers.count(found["samples"]), ""),
        ],
        notes=found["notes"],
        of_task=task_section(found),
        by_class=classes_section(found),
    )
