"""The communication of one epoch in closed form: nothing is trained."""

from __future__ import annotations

from pathlib import Path

from sglr.cost import closed_forms
from sglr.cost.closed_forms import Sizes
from sglr.studies.papers.declared import Artefact
from sglr.studies.papers.measured import MeasuredArtefact, Outcomes, place

VIEWS = {
    "as printed": closed_forms.paper,
    "broadcast": closed_forms.broadcast,
    "point to point": closed_forms.point_to_point,
}


def measure(artefact: Artefact, outcomes: Outcomes, folder: Path) -> MeasuredArtefact:
    """Return Table 6 for the paper's worked example in three views, and what SGLR saves.

    Claims may be judged by ``saving``, in per cent, by row and view.
    """
    del outcomes, folder
    example, phi = artefact.options["example"], artefact.options["phi"]
    sizes = Sizes(**example)
    volumes = {view: {name: form(name, sizes, phi) for name in closed_forms.METHODS} for view, form in VIEWS.items()}
    amounts = {
        "caption": "Sent in one epoch, both directions",
        "unit": "MB",
        "row_title": "method",
        "rows": [name.upper() for name in closed_forms.METHODS],
        "columns": [f"{what}, {view}" for view in VIEWS for what in ("per client", "total")],
        "cells": [
            [place(None, [value]) for one in volumes.values() for value in (one[name].per_client, one[name].total)]
            for name in closed_forms.METHODS
        ],
    }
    figures = {
        (f"than {other.upper()}", view, 0): 100 * (1 - one["sglr"].total / one[other].total)
        for other in ("sfl", "fl")
        for view, one in volumes.items()
    }
    paper = artefact.options["paper_savings"]
    savings = {
        "caption": "SGLR sends less",
        "unit": "%",
        "row_title": "",
        "rows": list(paper),
        "columns": list(VIEWS),
        "cells": [
            [place(paper[row] if view == "as printed" else None, [figures[row, view, 0]]) for view in VIEWS]
            for row in paper
        ],
    }
    return MeasuredArtefact(
        tables=[savings, amounts], figures={"saving": figures}, notes=list(artefact.options["notes"])
    )
