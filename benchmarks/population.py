"""What a hundred thousand registered clients cost, of whom a hundred take part in a round: memory, disk, time.

Each training is a process of its own, so that its peak of memory is its own. Time is the process's own (CPU), per round
and without the first two, against a training whose only clients are those hundred.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

import sglr
from record import machine, write_result
from sglr.core.data import Dataset, Samples
from sglr.core.events import EpochDone, Event

SHAPE, SAMPLES, AT_WORK = (1, 28, 28), 5000, 100


def noise() -> Dataset:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(SAMPLES, *SHAPE, generator=generator)
    samples = Samples(inputs, torch.randint(10, (SAMPLES,), generator=generator))
    return Dataset("noise", samples, samples.select(torch.arange(200)), tuple("0123456789"))


def train(clients: int, rounds: int, model: str, out: Path) -> dict[str, object]:
    """Train, and return what it took."""
    ends = [time.process_time()]

    def observe(event: Event) -> None:
        if isinstance(event, EpochDone):
            ends.append(time.process_time())

    run = sglr.train(
        "sglr",
        model=model,
        dataset=noise(),
        clients=clients,
        participation=min(1.0, AT_WORK / clients),
        partition="resample",
        draws=32,
        batch_size=8,
        epochs=rounds,
        threads=1,
        validation=200,
        test_clients=20,
        out=out,
        observe=observe,
    )
    taken = [later - earlier for earlier, later in itertools.pairwise(ends)]
    kept = run.path / "clients"
    return {
        "clients": clients,
        "client_store": run.summary["client_store"],
        "seconds_per_round": statistics.median(taken[2:]),
        "seconds_before_and_first_round": ends[1],
        "peak_memory_mb": peak_megabytes(),
        "disk_mb": sum(path.stat().st_size for path in kept.glob("*")) / 1e6 if kept.is_dir() else 0.0,
        "checkpoint_mb": run.checkpoints[-1].stat().st_size / 1e6,
    }


def peak_megabytes() -> float:
    """Return the most memory that this process ever had."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    (most,) = (line.split()[1] for line in lines if line.startswith("VmHWM"))
    return int(most) / 1e3


def apart(clients: int, rounds: int, model: str) -> dict[str, object]:
    """Train in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        told = ["--only", str(clients), "--rounds", str(rounds), "--model", model, "--out", f"{folder}/run"]
        done = subprocess.run([sys.executable, __file__, *told], check=True, stdout=subprocess.PIPE, text=True)
    result: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--model", default="cnn")
    parser.add_argument("--repeats", type=int, default=3, help="trainings of each kind, alternating")
    parser.add_argument("--write", action="store_true", help="keep the result in benchmarks/results")
    parser.add_argument("--only", type=int, help="train so many clients in this process")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    if given.only:
        print(json.dumps(train(given.only, given.rounds, given.model, given.out)))
        return
    found = {clients: [] for clients in (given.clients, AT_WORK)}
    for _ in range(given.repeats):
        for clients, results in found.items():
            results.append(apart(clients, given.rounds, given.model))
    many, alone = (min(results, key=lambda one: one["seconds_per_round"]) for results in found.values())
    ratio = many["seconds_per_round"] / alone["seconds_per_round"]
    result = {
        "command": " ".join(sys.argv),
        "machine": machine(),
        "many": many,
        "alone": alone,
        "ratio_per_round": ratio,
    }
    write_result("population", given.model, result, keep=given.write)


if __name__ == "__main__":
    main()
