"""What ``--clock`` costs of a step: processor time within the clock, beside that of the smallest steps there are.

The MLP on digits, with the clock in every other epoch of one run: seconds are of this thread alone, so that other
programs disturb little. What is told is the time of steps and epochs in the clock; it includes the reading of the time,
and leaves out that messages are put on a list.

    python benchmarks/clock_cost.py --write
"""

from __future__ import annotations

import argparse
import time
from statistics import median
from typing import Any

import torch

from record import machine, write_result
from sglr.assembly.build import build
from sglr.core.events import EpochDone, Event, Traffic
from sglr.core.trainer import Hooks
from sglr.runs.config import Experiment

POINTS: tuple[dict[str, Any], ...] = (
    {"method": "psl", "clients": 2},
    {"method": "psl", "clients": 5},
    {"method": "psl", "clients": 20, "samples_per_client": 60},
    {"method": "sglr", "clients": 5},
    {"method": "sfl", "clients": 5},
    {"method": "fl", "clients": 5},
    {"method": "psl", "clients": 5, "pipelining": 2},
    {"method": "psl", "clients": 5, "stragglers": "buffer:3"},
)
SETTINGS: dict[str, Any] = {
    "dataset": "digits",
    "model": "mlp",
    "samples_per_client": 160,
    "batch_size": 8,
    "validation": 100,
    "test_samples": 100,
    "eval_every": 10**6,
    "device": "cpu",
    "clock": "phone/4g",
}


def cost(point: dict[str, Any], epochs: int) -> dict[str, Any]:
    """Train; return the seconds of a step without the clock, and of the clock in it: medians over epochs."""
    training = build(Experiment.from_flat({**SETTINGS, **point, "epochs": epochs}))
    clock, trainer = training.clock, training.trainer
    assert clock is not None, "the settings give one"
    seconds: list[tuple[float, float]] = []
    own, began, steps = 0.0, time.thread_time(), 0

    def observe(event: Event) -> None:
        nonlocal own, began, steps
        if len(seconds) % 2 and isinstance(event, Traffic):
            clock(event)  # takes no longer than to read the time
        elif len(seconds) % 2:
            before = time.thread_time()
            clock(event)
            own += time.thread_time() - before
        if isinstance(event, EpochDone):
            taken = trainer.progress.steps - steps
            now = time.thread_time()
            seconds.append(((now - began - own) / taken, own / taken))
            own, began, steps = 0.0, time.thread_time(), trainer.progress.steps

    trainer.run(Hooks(observe))
    step, of_clock = median(one for one, _ in seconds[2::2]), median(one for _, one in seconds[3::2])
    return {**point, "step_seconds": step, "clock_seconds": of_clock, "share": of_clock / step}


def main() -> None:
    """Measure, print, and write the result if asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--write", action="store_true", help="keep the result under benchmarks/results")
    options = parser.parse_args()
    rows = [cost(point, options.epochs) for point in POINTS]
    for row in rows:
        what = " ".join(f"{name}={value}" for name, value in row.items() if name in POINTS[-1] | POINTS[-2])
        print(f"{what:45} step {1e6 * row['step_seconds']:6.0f} µs, clock {1e6 * row['clock_seconds']:4.0f} µs")
    result: dict[str, object] = {
        "machine": machine(),
        "command": "python benchmarks/clock_cost.py --write",
        "settings": SETTINGS,
        "rows": rows,
        "worst": max(row["share"] for row in rows),
        "goal": 0.02,
    }
    write_result("clock", "cost", result, keep=options.write)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
