"""What a decoder reconstructs from the smashed data of trained clients."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from sglr.core.data import Samples
from sglr.core.errors import UsageError
from sglr.core.random import generator
from sglr.leakage.measure_clients import Wanted, measure_client
from sglr.leakage.open_run import OpenedRun, open_run
from sglr.privacy.measures.reconstruction import reconstruct
from sglr.runs.folder import damage_explained
from sglr.storage.files import write_text
from sglr.storage.json_files import read_object
from sglr.studies.papers.declared import Artefact
from sglr.studies.papers.measured import MeasuredArtefact, Outcomes, divergences, grid
from sglr.studies.scheduler.outcome import Outcome

CLIENTS = 1000
"""Claims treat each attacked client of a seed as a seed of its own; this is the distance between their numbers."""

FURTHER = {
    "mse": "Mean squared error of the reconstruction; higher leaks less",
    "ssim": "SSIM of image and reconstruction; lower leaks less",
    "distance_correlation": "Distance correlation of inputs and smashed data; lower leaks less",
    "mutual_information": "Mutual information of inputs and smashed data, nats, a lower bound; lower leaks less",
}
"""Measures that the paper does not print, by the name of the figure."""


def measure(artefact: Artefact, outcomes: Outcomes, folder: Path) -> MeasuredArtefact:
    """Attack a few clients of every run with a decoder each.

    The decoder learns from the run's validation images, which no client owns, and is tested on test images. Claims may
    be judged by ``cross_entropy`` and ``mse``, paired client by client.
    """
    options = artefact.options[artefact.scale]
    attacked = {key: _attack(one, options, folder) for key, one in outcomes.items() if one.problem is None}

    def collected(name: str) -> dict[tuple[str, str, int], float]:
        return {
            (trial.row, trial.column, trial.seed * CLIENTS + client): value
            for trial in artefact.trials
            for client, value in enumerate(attacked.get(trial.experiment.fingerprint(), {}).get(name, ()))
        }

    figures = {name: collected(name) for name in ("cross_entropy", "mse", "baseline", *FURTHER)}
    note = (
        f"{options['clients']} client(s) of every run are attacked, with a decoder of {options['epochs']} epochs for "
        "each; the spread is over these clients and seeds, and claims pair them one by one. Without any smashed data, "
        f"guessing the mean image gives {max(figures['baseline'].values(), default=float('nan')):.4f}. The paper's "
        "decoder is another, so that the order of the figures can be held against its own, their size can't."
    )
    caption = "Cross-entropy between image and reconstruction; higher leaks less"
    table = grid(artefact, figures["cross_entropy"], caption=caption, unit="", notes=divergences(artefact, outcomes))
    further = [_without_paper(grid(artefact, figures[name], caption=told, unit="")) for name, told in FURTHER.items()]
    return MeasuredArtefact(tables=[table, *further], figures=dict(figures), notes=[note])


def _attack(outcome: Outcome, options: Mapping[str, Any], folder: Path) -> dict[str, list[float]]:
    """Attack a run's clients, unless that was done before."""
    settings = "-".join(f"{name}{options[name]}" for name in sorted(options))
    kept = folder / "leakage" / f"{outcome.experiment.fingerprint()}-{settings}.json"
    if not kept.is_file():
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_text(kept, json.dumps(_measured(outcome, options)) + "\n")
    with damage_explained(kept, "delete that file"):
        return {name: [float(value) for value in values] for name, values in (read_object(kept) or {}).items()}


def _measured(outcome: Outcome, options: Mapping[str, Any]) -> dict[str, list[float]]:
    """Return what each attacked client's decoder achieves, and the other measures of its smashed data."""
    opened, experiment = open_run(outcome.run), outcome.experiment
    rng = generator(experiment.seed, "attacked clients")
    clients = rng.choice(experiment.clients, min(options["clients"], experiment.clients), replace=False)
    each = [_of_client(opened, int(client), options) for client in clients]
    return {name: [one[name] for one in each] for name in each[0] if all(name in one for one in each)}


def _of_client(opened: OpenedRun, client: int, options: Mapping[str, Any]) -> dict[str, float]:
    target = opened.target(client)
    auxiliary, targets = (_some(samples, options["samples"]) for samples in (target.auxiliary, target.unseen))
    found = reconstruct(target.send, auxiliary, targets, epochs=options["epochs"], seed=target.seed)
    figures = {
        "cross_entropy": found.cross_entropy.value,
        "mse": found.mse.value,
        "baseline": found.baseline_cross_entropy.value,
    }
    with contextlib.suppress(UsageError):  # smaller images than its window have none
        figures["ssim"] = found.ssim().value
    others = measure_client(target, Wanted(("mutual_information", "distance_correlation"))).figures
    return figures | {name: estimate.value for name, estimate in others.items()}


def _some(samples: Samples, count: int) -> Tensor:
    return samples.inputs[:count]


def _without_paper(table: dict[str, Any]) -> dict[str, Any]:
    """Take the paper's figures, which are of another measure, out of a table."""
    cells = [[{**cell, "paper": None, "difference": None} for cell in row] for row in table["cells"]]
    return {**table, "cells": cells}
