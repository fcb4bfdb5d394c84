"""The time of one epoch in closed form, over the number of samples: nothing is trained."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sglr.cost.closed_forms import METHODS, Sizes, paper
from sglr.studies.papers.declared import Artefact
from sglr.studies.papers.measured import MeasuredArtefact, Outcomes


def measure(artefact: Artefact, outcomes: Outcomes, folder: Path) -> MeasuredArtefact:
    """Return one chart per setting of clients and model, time over samples; claims are judged by ``seconds``.

    In the figures, a row is a setting with a number of samples, a column a method.
    """
    del outcomes, folder
    options = artefact.options
    charts, figures = [], {}
    for setting in options["settings"]:
        seconds = {
            name: [_seconds(name, setting, samples, options) for samples in options["samples"]] for name in METHODS
        }
        title = f"{setting['clients']} clients, a model of {setting['model']:g} MB"
        charts.append(_chart(title, options["samples"], seconds))
        for name, values in seconds.items():
            for samples, value in zip(options["samples"], values, strict=True):
                figures[f"{title}, |D| = {samples:,}", name.upper(), 0] = value
    return MeasuredArtefact(charts=charts, figures={"seconds": figures}, notes=list(options["notes"]))


def _seconds(method: str, setting: Mapping[str, Any], samples: int, options: Mapping[str, Any]) -> float:
    client = setting["model"] * options["client_share"]
    sizes = Sizes(setting["clients"], samples, options["cut"], setting["model"], client)
    return paper(method, sizes, options["phi"]).seconds(options["megabytes_per_second"])


def _chart(title: str, samples: list[int], seconds: Mapping[str, list[float]]) -> dict[str, Any]:
    return {
        "title": title,
        "x_title": "samples of all clients, |D|",
        "y_title": "seconds per epoch",
        "log_x": True,
        "log_y": True,
        "series": [
            {"label": name.upper(), "x": samples, "y": values, "spread": None} for name, values in seconds.items()
        ],
    }
