"""How fast clients train on pictures that are decoded from their files, beside the same pictures in memory.

JPEG files of photographs' size are written first: smooth noise, which takes as long to decode as pictures do. Memory
and disk take turns epoch by epoch, so that both see the same load of the machine.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from PIL import Image

from record import machine, write_result
from sglr.assembly.build import build
from sglr.core.random import generator
from sglr.core.trainer import Trainer
from sglr.core.types import StepContext
from sglr.runs.config import Experiment

STORES = ("memory", "disk")


def write_pictures(folder: Path, number: int, size: int) -> int:
    """Write pictures of two classes; return the mean bytes of a file."""
    rng = np.random.default_rng(0)
    for place in range(number):
        of_class = folder / ("cat", "dog")[place % 2]
        of_class.mkdir(parents=True, exist_ok=True)
        coarse = Image.fromarray(rng.integers(0, 255, (size // 8, size // 8, 3)).astype(np.uint8))
        fine = np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC)).astype(np.int16)
        values = (fine + rng.integers(-12, 12, fine.shape)).clip(0, 255).astype(np.uint8)
        Image.fromarray(values).save(of_class / f"{place}.jpg", quality=90)
    sizes = [file.stat().st_size for file in folder.rglob("*.jpg")]
    return sum(sizes) // len(sizes)


def trainer(pictures: Path, store: str, options: argparse.Namespace, model: str) -> Trainer:
    settings: dict[str, Any] = {
        "method": "sglr",
        "dataset": f"folder:{pictures}",
        "image_size": options.size,
        "model": model,
        "clients": options.clients,
        "batch_size": options.batch,
        "validation": 2,
        "stacking": "looped",
        "sample_store": store,
        "threads": options.threads,
        "epochs": 1,
    }
    return build(Experiment.from_flat(settings)).trainer


def samples_per_second(trained: Trainer, epoch: int) -> float:
    """Pass over the data once, without evaluation; return the speed."""
    engine, cohort = trained.engine, tuple(range(len(trained.engine.sizes)))
    started, seen = time.perf_counter(), 0
    steps = engine.begin_epoch(cohort, epoch)
    for step in range(steps):
        uplink = engine.forward(step)
        assert uplink is not None, "somebody has a batch in every step"
        context = StepContext(epoch, epoch + 1, step, steps, generator(0, "step", epoch, step), server_rate=1e-3)
        engine.backward(trained.method.exchange(trained.server, uplink, context), 1e-3)
        seen += sum(uplink.sizes)
    return seen / (time.perf_counter() - started)


def compare(pictures: Path, options: argparse.Namespace, model: str) -> dict[str, Any]:
    trained = {store: trainer(pictures, store, options, model) for store in STORES}
    found: dict[str, list[float]] = {store: [] for store in STORES}
    for epoch in range(options.epochs + 1):
        for store in STORES if epoch % 2 else STORES[::-1]:
            speed = samples_per_second(trained[store], epoch)
            if epoch:  # the first warms up
                found[store].append(round(speed, 2))
    ratios = [disk / memory for memory, disk in zip(found["memory"], found["disk"], strict=True)]
    return {
        "model": model,
        "samples_per_second": found,
        "disk / memory": {"median": round(median(ratios), 3), "each": [round(ratio, 3) for ratio in ratios]},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=["cnn", "resnet16"])
    parser.add_argument("--pictures", type=int, default=160)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--note", default="", help="what else to say of the machine")
    parser.add_argument("--write", action="store_true", help="keep the result under benchmarks/results")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        mean = write_pictures(Path(folder), options.pictures, options.size)
        rows = [compare(Path(folder), options, model) for model in options.models]
    told = {name: value for name, value in vars(options).items() if name not in ("write", "note", "models")}
    result = {"machine": machine(), "note": options.note, "settings": told, "bytes_of_picture": mean, "rows": rows}
    write_result("disk_streaming", "cpu", result, keep=options.write)


if __name__ == "__main__":
    main()
