"""Where SGLR is more accurate than plain parallel split learning, and where it is not: one factor varied at a time.

Needs Fashion-MNIST (SGLR_DATA_DIR). What is trained already in ``--out`` is not trained again.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from record import machine, write_result
from sglr.runs.config import Experiment
from sglr.studies.papers.declared import read_artefact
from sglr.studies.scheduler.outcome import Outcome
from sglr.studies.scheduler.progress import StudyProgress
from sglr.studies.scheduler.run_all import run_all
from sglr.studies.scheduler.trial import Trial

METHODS: Mapping[str, Mapping[str, Any]] = {
    "PSL": {"method": "psl"},
    "SLR": {"method": "slr", "alpha": 1.0},
    "SGLR": {"method": "sglr", "alpha": 1.0, "phi": 0.75},
    "SFL": {"method": "sfl"},
}
CNN = {"model": "cnn"}
RESNET = {"model": "resnet16"}
SHORT = {"epochs": 10}
LONG = {"epochs": 90, "eval_every": 9}
FACTORS: Mapping[str, tuple[str, Mapping[str, Any], Mapping[str, Mapping[str, Any]]]] = {
    # name: question, what is common, the values
    "cnn, depth": ("layers at the client", CNN, {cut: {"cut": cut} for cut in ("pool1", "pool2", "relu3")}),
    "cnn, epochs": ("epochs", CNN, {"10": SHORT, "30": {}, "90": LONG}),
    "cnn, samples": (
        "samples per client, at equal steps",
        CNN,
        {
            "25": {"samples_per_client": 25, "epochs": 120, "eval_every": 12},
            "100": {},
            "400": {"samples_per_client": 400, "epochs": 8, "eval_every": 1},
        },
    ),
    "cnn, clients": ("clients", CNN, {"4": {"clients": 4}, "8": {}, "20": {"clients": 20}}),
    "cnn, batch": ("samples per step", CNN, {"4": {"batch_size": 4}, "8": {}, "32": {"batch_size": 32}}),
    "cnn, optimizer": ("optimizer", CNN, {"adam": {}, "sgd": {"optimizer": "sgd:momentum=0.9", "lr": 0.03}}),
    "resnet16, depth": (
        "layers at the client",
        RESNET,
        {cut: {"cut": cut} for cut in ("stem", "layer1", "layer2", "layer3")},
    ),
}
FEWER = ("PSL", "SGLR")
"""Methods of the factor that is costly to train."""

CONTROLS: Mapping[str, Mapping[str, Any]] = {
    "PSL": {"method": "psl"},
    "PSL, client rate × 0.25": {"method": "psl", "lr": 2.5e-4, "server_lr": 1e-3},
    "SLR": {"method": "slr", "alpha": 1.0},
    "SGL": {"method": "sgl", "phi": 0.75},
    "SGLR": {"method": "sglr", "alpha": 1.0, "phi": 0.75},
    "SGLR, by class": {"method": "sglr", "alpha": 1.0, "phi": 0.75, "average": "class"},
    "SFL": {"method": "sfl"},
}
"""What tells the mechanism, with ResNet16 at the paper's cut."""


@dataclass(frozen=True)
class Cell:
    """One training of the study."""

    factor: str
    value: str
    label: str
    seed: int
    experiment: Experiment


def cells(seeds: int, clients: int) -> Iterator[Cell]:
    base = {**read_artefact("table2", "small").settings, "clients": clients, "threads": 1}
    for factor, (_, common, values) in FACTORS.items():
        chosen = FEWER if factor.startswith("resnet16") else tuple(METHODS)
        for value, own in values.items():
            for label in chosen:
                yield from _seeds(factor, value, label, {**base, **common, **own, **METHODS[label]}, seeds)
    for label, own in CONTROLS.items():
        yield from _seeds("resnet16, controls", "", label, {**base, **RESNET, **own}, seeds)


def _seeds(factor: str, value: str, label: str, settings: Mapping[str, Any], seeds: int) -> Iterator[Cell]:
    for seed in range(seeds):
        yield Cell(factor, value, label, seed, Experiment.from_flat({**settings, "seed": seed}))


def row(cell: Cell, outcome: Outcome) -> dict[str, Any]:
    history = outcome.run.history
    return {
        "factor": cell.factor,
        "value": cell.value,
        "method": cell.label,
        "seed": cell.seed,
        "accuracy": outcome.accuracy,
        "train_accuracy": history[-1]["train_accuracy"] if history else None,
        "validation": [[one["epoch"], one["validation_accuracy"]] for one in history if "validation_accuracy" in one],
        "train": [[one["epoch"], one["train_accuracy"]] for one in history if "validation_accuracy" in one],
        "problem": outcome.problem,
    }


def tell(event: object) -> None:
    if isinstance(event, StudyProgress):
        print(f"{event.done} of {event.total} runs", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/when-sglr-wins"), help="folder of the runs")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--only", default="", help="factors whose names begin so")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--write", action="store_true", help="keep the result in benchmarks/results")
    options = parser.parse_args()
    torch.set_num_threads(1)
    chosen = [cell for cell in cells(options.seeds, options.clients) if cell.factor.startswith(options.only)]
    trials = [Trial.of(cell.experiment, options.out) for cell in chosen]
    outcomes = run_all(trials, jobs=options.jobs, observe=tell)
    rows = [row(cell, outcome) for cell, outcome in zip(chosen, outcomes, strict=True)]
    command = f"python benchmarks/when_sglr_wins.py --seeds {options.seeds} --clients {options.clients} --write"
    result = {
        "command": command,
        "machine": machine(),
        "clients": options.clients,
        "seeds": options.seeds,
        "rows": rows,
    }
    write_result("when-sglr-wins", "cpu", result, keep=options.write)


if __name__ == "__main__":
    main()
