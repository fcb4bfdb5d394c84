"""What each merge rule stops, and what it costs where nobody attacks: two attackers among ten clients, on digits.

Attackers live in this process: what they send for a merge is changed on its way to the server (random-sign, scaled), or
their labels are changed before the training begins (label-flip). No run folder is written.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Sequence
from functools import partial
from itertools import product
from statistics import mean, median, stdev
from typing import Any

import torch
from torch import Tensor

from record import machine, write_result
from sglr.assembly.build import build
from sglr.assembly.parts import PartOverrides
from sglr.core.data import ClientData, Samples
from sglr.core.errors import DivergedError
from sglr.core.merging import Merging
from sglr.core.registry import MERGE_RULES
from sglr.core.weights import Weights
from sglr.engines.local import Local
from sglr.parties.spec import ClientSpec
from sglr.runs.config import Experiment

ATTACKERS = (0, 1)
RULES = ("mean", "trimmed-mean", "median", "norm-bound")
METHODS = ("fl", "sfl")
SETTINGS = {
    "dataset": "digits",
    "model": "cnn",
    "clients": 10,
    "epochs": 6,
    "lr": 0.003,
    "validation": 0,
    "threads": 1,
    "stacking": "stacked",
    "device": "cpu",
}


def scaled(update: Tensor, factor: float, rng: torch.Generator) -> Tensor:
    """Return the update times a factor."""
    del rng
    return update * factor


def random_sign(update: Tensor, factor: float, rng: torch.Generator) -> Tensor:
    """Return an update of the same size in every weight, times a factor, whose signs say nothing."""
    signs = torch.randint(0, 2, update.shape, generator=rng, dtype=update.dtype) * 2 - 1
    return update * signs * factor


ATTACKS = {
    "none": None,
    "random-sign ×10": partial(random_sign, factor=10.0),
    "scaled ×−10": partial(scaled, factor=-10.0),
    "scaled ×100": partial(scaled, factor=100.0),
    "label-flip": None,
}


TRIED = {"iid": tuple(ATTACKS), "shards": ("none", "scaled ×−10", "label-flip")}
"""Attacks by partition."""


class Attacked(Local):
    """Clients in this process, of whom some send other weights than they have."""

    def __init__(self, setting: ClientSpec, change: Any) -> None:
        super().__init__(setting)
        self._change, self._rng = change, torch.Generator().manual_seed(setting.seed)
        self._last: Weights = {}

    def publish(self, weights: Weights, clients: tuple[int, ...]) -> tuple[int, ...]:
        self._last = weights
        return super().publish(weights, clients)

    def collect_present(self, cohort: tuple[int, ...]) -> tuple[tuple[int, ...], Weights]:
        present, weights = super().collect_present(cohort)
        if self._change is not None:
            for place in (place for place, client in enumerate(present) if client in ATTACKERS):
                for name, rows in weights.items():
                    rows[place] = self._last[name] + self._change(rows[place] - self._last[name], rng=self._rng)
        return present, weights


def flipped(data: ClientData) -> ClientData:
    """Return the data with the attackers' class k called K − 1 − k."""
    targets = data.train.targets.clone()
    for client in ATTACKERS:
        targets[data.indices[client]] = len(data.classes) - 1 - targets[data.indices[client]]
    return dataclasses.replace(data, train=Samples(data.train.inputs, targets))


def accuracy(method: str, partition: str, attack: str, rule: str, seed: int) -> float | None:
    """Train, and return the accuracy on the test samples; None if the training diverged."""
    own = {"method": method, "partition": partition, "merge_rule": rule, "seed": seed}
    experiment = Experiment.from_flat({**SETTINGS, **own})
    poison = flipped if attack == "label-flip" else None
    built = build(experiment, PartOverrides(engine=partial(Attacked, change=ATTACKS[attack]), poison=poison))
    try:
        built.trainer.run()
    except DivergedError:
        return None
    return built.trainer.evaluate(built.data.test).mean("accuracy")


def milliseconds(rule: str, clients: int, weights: int, rounds: int = 5) -> float:
    """Return the processor time of one merge, the median of a few."""
    rows, shares = {"w": torch.randn(clients, weights)}, torch.full((clients,), 1 / clients, dtype=torch.float64)
    merging = Merging(MERGE_RULES.load(rule)(), tuple(range(clients)), shares, {"w": torch.zeros(weights)})
    times = []
    for _ in range(rounds):
        start = time.process_time()
        merging.merge(rows)
        times.append(time.process_time() - start)
    return round(1000 * median(times), 1)


def shown(found: Sequence[float | None]) -> str:
    """Return accuracies in %, mean ± standard deviation over seeds, and how many diverged."""
    known = [100 * value for value in found if value is not None]
    diverged = len(found) - len(known)
    text = f"{mean(known):.1f} ± {stdev(known) if len(known) > 1 else 0:.1f}" if known else ""
    return " ".join(filter(None, (text, f"({diverged} diverged)" if diverged else "")))


def table(rows: Sequence[dict[str, Any]], method: str, partition: str) -> list[str]:
    """Return a table of ``docs/robust-averages.md``: a line per attack, a column per rule."""
    lines = [f"| {method}, {partition} | {' | '.join(RULES)} |", f"|---|{'---:|' * len(RULES)}"]
    for attack in TRIED[partition]:
        cells = [
            shown([row["test"] for row in rows if tuple(row.values())[:4] == (method, partition, attack, rule)])
            for rule in RULES
        ]
        lines.append(f"| {attack} | {' | '.join(cells)} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--method", choices=METHODS, default="fl")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--times", action="store_true", help="measure how long merges take, and train nothing")
    parser.add_argument("--write", action="store_true", help="keep the result under benchmarks/results")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.times:
        times = {
            f"{clients} clients, {weights:,} weights": {rule: milliseconds(rule, clients, weights) for rule in RULES}
            for clients, weights in ((10, 1_000_000), (1000, 10_000))
        }
        command = "OMP_NUM_THREADS=1 python benchmarks/robust_averages.py --times --write"
        timed: dict[str, object] = {"machine": machine(), "command": command, "milliseconds_of_a_merge": times}
        write_result("robust_averages", "times-cpu", timed, keep=options.write)
        return
    rows: list[dict[str, Any]] = []
    for partition, attacks in TRIED.items():
        for attack, rule, seed in product(attacks, RULES, range(options.seeds)):
            key = {"method": options.method, "partition": partition, "attack": attack, "merge_rule": rule}
            rows.append({**key, "seed": seed, "test": accuracy(*key.values(), seed)})
        print("\n".join(table(rows, options.method, partition)), flush=True)
    result: dict[str, object] = {
        "machine": machine(),
        "command": f"OMP_NUM_THREADS=1 python benchmarks/robust_averages.py --method {options.method}"
        f" --seeds {options.seeds} --write",
        "cpu_seconds": round(time.process_time()),
        "settings": SETTINGS,
        "attackers": ATTACKERS,
        "rows": rows,
    }
    write_result("robust_averages", f"{options.method}-cpu", result, keep=options.write)


if __name__ == "__main__":
    main()
