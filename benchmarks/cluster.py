"""ResNet16 with 20 clients in blocks on a Ray started here, against the same in one process, on the same cores.

Both train the same samples, in alternating rounds of one run. Also told: what a step moves between driver and blocks,
and the time of gather and scatter on the driver's side against a plain copy of the same bytes.

    python benchmarks/cluster.py --write
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from record import machine, write_result
from sglr.core.types import Uplink
from sglr.engines.ray import engine as ray_engine
from sglr.experiment.train import execute
from sglr.runs.config import Experiment
from sglr.system.ray_cluster import connect

SETTINGS = {
    "method": "sglr",
    "model": "resnet16",
    "dataset": "digits",
    "image_size": 28,
    "clients": 20,
    "batch_size": 8,
    "test_samples": 20,
    "test_clients": 1,
    "eval_clients": 1,
    "epochs": 3,
    "device": "cpu",
}


class Moved:
    """What gathers and scatters of a run move, and how long they take on the driver."""

    def __init__(self) -> None:
        self.bytes = {"gather": 0, "scatter": 0}
        self.seconds = {"gather": 0.0, "scatter": 0.0}
        self.steps = 0

    def timed(self, name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def measured(*arguments: Any) -> Any:
            started = time.perf_counter()
            found = work(*arguments)
            self.seconds[name] += time.perf_counter() - started
            if isinstance(found, Uplink):
                self.bytes[name] += found.smashed.nbytes
                self.steps += 1
            else:
                average, parts = found
                sent = [*(part.own for part in parts.values()), average]
                self.bytes[name] += sum(one.array.nbytes for one in sent if one is not None)
            return found

        return measured

    def told(self) -> dict[str, object]:
        steps = max(1, self.steps)
        return {
            name: {
                "bytes_per_step": self.bytes[name] // steps,
                "ms_per_step": round(1000 * self.seconds[name] / steps, 2),
                "copy_ms_per_step": round(1000 * copying(self.bytes[name] // steps), 2),
            }
            for name in self.bytes
        }


def copying(size: int) -> float:
    """Return the seconds of a plain copy of so many bytes."""
    source, target = torch.ones(size, dtype=torch.uint8), torch.empty(size, dtype=torch.uint8)
    found = []
    for _ in range(10):
        started = time.perf_counter()
        target.copy_(source)
        found.append(time.perf_counter() - started)
    return statistics.median(found)


def samples_per_second(engine: str, samples: int, blocks: int, moved: Moved) -> float:
    """Train, and return the rate without evaluation; the first steps warm new processes up."""
    torch.set_num_threads(os.cpu_count() or 1)
    more = {"block_clients": -(-int(str(SETTINGS["clients"])) // blocks)} if engine == "ray" else {}
    experiment = Experiment.from_flat({**SETTINGS, **more, "engine": engine, "samples_per_client": samples})
    joining = patch.object(ray_engine, "join", moved.timed("gather", ray_engine.join))
    scattering = patch.object(ray_engine, "scatter", moved.timed("scatter", ray_engine.scatter))
    with tempfile.TemporaryDirectory() as folder, joining, scattering:
        summary = execute(experiment, Path(folder) / "run").summary
    assert summary is not None
    return float(summary["samples_per_second"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=64, help="of each client")
    parser.add_argument("--blocks", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="keep the result under benchmarks/results")
    arguments = parser.parse_args()
    connect()
    moved = Moved()
    rates: dict[str, list[float]] = {"local": [], "ray": []}
    for _ in range(arguments.rounds):
        for engine, found in rates.items():
            found.append(samples_per_second(engine, arguments.samples, arguments.blocks, moved))
            print(engine, f"{found[-1]:.1f} samples/s", flush=True)
    medians = {engine: statistics.median(found) for engine, found in rates.items()}
    result: dict[str, object] = {
        "command": " ".join(["benchmarks/cluster.py", *sys.argv[1:]]),
        "machine": machine(),
        "settings": {**SETTINGS, "samples_per_client": arguments.samples},
        "blocks": arguments.blocks,
        "samples_per_second": rates,
        "ray over local": round(medians["ray"] / medians["local"], 3),
        "per step": moved.told(),
    }
    write_result("cluster", f"{arguments.blocks}-blocks", result, keep=arguments.write)


if __name__ == "__main__":
    main()
