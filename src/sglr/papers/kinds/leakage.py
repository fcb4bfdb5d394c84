"""What a decoder reconstructs from the smashed data of trained clients."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from sglr.build import build
from sglr.cells.outcome import Outcome
from sglr.core.data import Samples
from sglr.core.random import generator
from sglr.papers.declared import Artefact
from sglr.papers.measured import Measured, Outcomes, divergences, grid
from sglr.privacy.measures.reconstruction import reconstruct
from sglr.run import write_text
from sglr.trained import restored, trained_segments

CLIENTS = 1000
"""Claims take each attacked client of a seed for a seed of its own, numbered so far apart."""


def measure(artefact: Artefact, outcomes: Outcomes, folder: Path) -> Measured:
    """Attack a few clients of every run with a decoder each.

    The decoder learns from the run's validation images, which no client owns, and is tested on test images. Claims may
    be judged by ``cross_entropy`` and ``mse``, paired client by client.
    """
    options = artefact.options[artefact.scale]
    attacked = {key: _attack(one, options, folder) for key, one in outcomes.items() if one.problem is None}

    def collected(name: str) -> dict[tuple[str, str, int], float]:
        return {
            (cell.row, cell.column, cell.seed * CLIENTS + client): value
            for cell in artefact.cells
            for client, value in enumerate(attacked.get(cell.experiment.fingerprint(), {}).get(name, ()))
        }

    figures = {name: collected(name) for name in ("cross_entropy", "mse", "baseline")}
    note = (
        f"{options['clients']} client(s) of every run are attacked, with a decoder of {options['epochs']} epochs for "
        "each; the spread is over these clients and seeds, and claims pair them one by one. Without any smashed data, "
        f"guessing the mean image gives {max(figures['baseline'].values(), default=float('nan')):.4f}. The paper's "
        "decoder is another, so that the order of the figures can be held against its own, their size can't."
    )
    caption = "Cross-entropy between image and reconstruction; higher leaks less"
    table = grid(artefact, figures["cross_entropy"], caption=caption, unit="", notes=divergences(artefact, outcomes))
    return Measured(tables=[table], figures=dict(figures), notes=[note])


def _attack(outcome: Outcome, options: Mapping[str, Any], folder: Path) -> dict[str, list[float]]:
    """Attack a run's clients, unless that was done before."""
    settings = "-".join(f"{name}{options[name]}" for name in sorted(options))
    kept = folder / "leakage" / f"{outcome.experiment.fingerprint()}-{settings}.json"
    if not kept.is_file():
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_text(kept, json.dumps(_reconstructed(outcome, options)) + "\n")
    found: dict[str, list[float]] = json.loads(kept.read_text(encoding="utf-8"))
    return found


def _reconstructed(outcome: Outcome, options: Mapping[str, Any]) -> dict[str, list[float]]:
    """Return what each attacked client's decoder achieves."""
    experiment = outcome.experiment
    built = restored(outcome.run, build(experiment))
    assert built.data.validation is not None, "the declared settings hold validation images apart"
    auxiliary = _some(built.data.validation, options["samples"])
    targets = _some(built.data.test, options["samples"])
    rng = generator(experiment.seed, "attacked clients")
    clients = rng.choice(experiment.clients, min(options["clients"], experiment.clients), replace=False)
    found = [
        reconstruct(
            trained_segments(built, int(client)).lower,
            auxiliary,
            targets,
            epochs=options["epochs"],
            seed=experiment.seed,
        )
        for client in clients
    ]
    return {
        "cross_entropy": [one.cross_entropy.value for one in found],
        "mse": [one.mse.value for one in found],
        "baseline": [one.baseline_cross_entropy.value for one in found],
    }


def _some(samples: Samples, count: int) -> Tensor:
    return samples.inputs[:count]
