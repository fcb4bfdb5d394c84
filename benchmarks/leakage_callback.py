"""What ``--leakage every=1`` adds to the processor time of a training, against the same training without it."""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch

from leakage_measures import pictures
from record import machine, write_result
from sglr.assembly.parts import PartOverrides, Training
from sglr.core.data import Dataset, Samples
from sglr.core.events import EpochDone, Event
from sglr.experiment.train import execute
from sglr.runs.config import Experiment

CONTENDERS = {"without": "", "every=1": "every=1"}
TESTED = 100


def noise(number: int) -> Dataset:
    """Draw images in Fashion-MNIST's shape, with labels that say nothing of them."""
    samples = Samples(pictures(number), torch.randint(10, (number,), generator=torch.Generator().manual_seed(1)))
    held = Samples(pictures(TESTED), samples.targets[:TESTED])
    return Dataset("noise", samples, held, tuple("0123456789"))


def cases(epochs: int, samples: int) -> dict[str, tuple[dict[str, object], PartOverrides]]:
    """Return settings and parts of each case: defaults, and Fashion-MNIST's sizes, both with 10 clients."""
    images = noise(10 * samples)
    common: dict[str, object] = {"threads": 1, "stacking": "stacked"}
    large = {"dataset": "<noise>", "epochs": epochs, "validation": TESTED}
    return {
        "defaults": (common, PartOverrides()),
        f"28 x 28 pixels, {samples} samples per client": (common | large, PartOverrides(dataset=images)),
    }


def training_seconds(settings: dict[str, object], given: PartOverrides, leakage: str) -> float:
    """Return the processor time from the first step to the end of the last epoch; imports of the package are before."""
    marks: list[float] = []

    def note(event: Event) -> None:
        if isinstance(event, EpochDone):
            marks.append(time.process_time())

    def begin(built: Training) -> None:
        del built
        marks.append(time.process_time())

    with tempfile.TemporaryDirectory() as folder:
        experiment = Experiment.from_flat(settings | {"leakage": leakage})
        execute(experiment, Path(folder) / "run", given=given, observe=note, ready=begin)
    return marks[-1] - marks[0]


def compared(settings: dict[str, object], given: PartOverrides, rounds: int) -> dict[str, object]:
    """Let the contenders alternate; what a first look imports is told apart."""
    first = {name: training_seconds(settings, given, leakage) for name, leakage in CONTENDERS.items()}
    taken: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    for _ in range(rounds):
        for name, leakage in CONTENDERS.items():
            taken[name].append(training_seconds(settings, given, leakage))
    ratios = [watched / plain for plain, watched in zip(*taken.values(), strict=True)]
    return {
        "seconds": {name: round(min(times), 3) for name, times in taken.items()},
        "first_seconds": {name: round(seconds, 3) for name, seconds in first.items()},
        "ratios": [round(ratio, 3) for ratio in ratios],
        "ratio": round(statistics.median(ratios), 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=5, help="of the case with 28 x 28 pixels")
    parser.add_argument("--samples", type=int, default=1000, help="of each client, with 28 x 28 pixels")
    parser.add_argument("--write", action="store_true", help="keep the result under benchmarks/results")
    arguments = parser.parse_args()
    chosen = cases(arguments.epochs, arguments.samples)
    options = f"--rounds {arguments.rounds} --epochs {arguments.epochs} --samples {arguments.samples}"
    result: dict[str, object] = {
        "command": f"python benchmarks/leakage_callback.py {options}",
        "cases": {name: compared(*case, arguments.rounds) for name, case in chosen.items()},
        "machine": machine(),
    }
    write_result("leakage_callback", "cpu", result, keep=arguments.write)


if __name__ == "__main__":
    main()
