"""What computing ahead costs in accuracy: test accuracy after training with gradients of 0 to 8 steps before.

``python benchmarks/pipelining.py --write`` takes a quarter of an hour on one free processor. What was measured before
is in ``--out`` and not measured again.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from statistics import mean, pstdev
from typing import Any

import torch

from record import machine, write_result
from sglr.assembly.build import build
from sglr.core.events import EpochDone, Event
from sglr.core.trainer import Hooks
from sglr.runs.config import Experiment

DEPTHS = (0, 1, 2, 4, 8)
STRENGTHS = (0.0, 10_000.0)
COMPENSATED = (4, 8)
"""Depths at which the compensation is tried."""

METHODS = ("psl", "sglr", "sfl")
MODELS = ("mlp", "cnn")
SETTINGS = {
    "dataset": "digits",
    "clients": 5,
    "samples_per_client": 160,
    "epochs": 10,
    "eval_every": 10,
    "device": "cpu",
}
"""Twenty steps an epoch: the first of an epoch have fewer steps of delay than the rest."""


def measure(point: dict[str, Any]) -> dict[str, Any]:
    """Train and return the figures."""
    training = build(Experiment.from_flat({**SETTINGS, **point}))
    losses: list[float] = []

    def observe(event: Event) -> None:
        if isinstance(event, EpochDone):
            losses.append(event.record["loss"])

    training.trainer.run(Hooks(observe))
    test = training.trainer.evaluate(training.data.test).mean("accuracy")
    return {**point, "test": test, "loss": losses[-1], "loss_halfway": losses[len(losses) // 2 - 1]}


def measured(out: Path, seeds: int) -> list[dict[str, Any]]:
    """Return the figures of all points, from the file ``out`` where they are in it."""
    rows = [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []
    out.parent.mkdir(parents=True, exist_ok=True)
    for seed, model, method, (depth, strength) in product(range(seeds), MODELS, METHODS, points()):
        own = {"model": model, "method": method, "pipelining": depth, "delay_compensation": strength, "seed": seed}
        if not any(own.items() <= row.items() for row in rows):
            rows.append(measure(own))
            with out.open("a") as file:
                print(json.dumps(rows[-1]), file=file)
    return rows


def points() -> Iterator[tuple[int, float]]:
    """Yield depths, with each strength of the compensation where there is a delay."""
    for depth in DEPTHS:
        for strength in STRENGTHS if depth in COMPENSATED else STRENGTHS[:1]:
            yield depth, strength


def table(rows: list[dict[str, Any]], figure: str, scale: float) -> list[str]:
    """Return a table of a figure, mean ± standard deviation over seeds: a row for each depth and strength."""
    columns = list(product(MODELS, METHODS))
    lines = [
        f"| depth | λ | {' | '.join(f'{model}, {method}' for model, method in columns)} |",
        f"|---:|---:|{'---:|' * len(columns)}",
    ]
    for depth, strength in points():
        cells = []
        for model, method in columns:
            wanted = {"model": model, "method": method, "pipelining": depth, "delay_compensation": strength}
            found = [scale * row[figure] for row in rows if wanted.items() <= row.items()]
            digits = 1 if scale > 1 else 3
            cells.append(f"{mean(found):.{digits}f} ± {pstdev(found):.{digits}f}")
        lines.append(f"| {depth} | {strength:g} | {' | '.join(cells)} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/pipelining.jsonl"), help="file of figures")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="keep the result under benchmarks/results")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = measured(options.out, options.seeds)
    result: dict[str, object] = {
        "machine": machine(),
        "command": "python benchmarks/pipelining.py --write",
        "settings": SETTINGS,
        "rows": rows,
    }
    write_result("pipelining", "cpu", result, keep=options.write)
    print("\n".join(table(rows, "test", 100)))
    print("\n".join(table(rows, "loss", 1)))


if __name__ == "__main__":
    main()
