"""ResNet16 with five clients as separate processes over mutual TLS, against the same in one looped process.

Fashion-MNIST is read from $SGLR_DATA_DIR. Both train the same samples to the same weights, in turns. Each process of
the remote engine has one thread, the local engine as many as the machine has cores.

    SGLR_DATA_DIR=... python benchmarks/remote_training.py --write
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from pathlib import Path

import torch

from record import machine, write_result
from sglr.experiment.train import execute
from sglr.runs.config import Experiment

SETTINGS = {
    "method": "sglr",
    "model": "resnet16",
    "dataset": "fashion-mnist",
    "clients": 5,
    "batch_size": 8,
    "validation": 20,
    "test_samples": 20,
    "epochs": 1,
    "device": "cpu",
    "stacking": "looped",
}


def samples_per_second(engine: str, samples: int) -> float:
    """Train an epoch, and return the rate without evaluation."""
    torch.set_num_threads(1 if engine == "remote" else os.cpu_count() or 1)
    with tempfile.TemporaryDirectory() as folder:
        threads = {"threads": 1} if engine == "remote" else {}
        settings = {**SETTINGS, **threads, "engine": engine, "samples_per_client": samples}
        summary = execute(Experiment.from_flat(settings), Path(folder) / "run").summary
    assert summary is not None
    return float(summary["samples_per_second"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=240, help="of each client")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--write", action="store_true", help="keep the result under benchmarks/results")
    arguments = parser.parse_args()
    rates: dict[str, list[float]] = {"local": [], "remote": []}
    for _ in range(arguments.rounds):
        for engine, found in rates.items():
            found.append(samples_per_second(engine, arguments.samples))
            print(engine, f"{found[-1]:.1f} samples/s", flush=True)
    ratio = statistics.median(rates["remote"]) / statistics.median(rates["local"])
    result = {
        "machine": machine(),
        "command": " ".join(sys.argv),
        "samples_per_second": rates,
        "remote_to_local": ratio,
    }
    write_result("remote_training", "cpu", result, keep=arguments.write)


if __name__ == "__main__":
    main()
