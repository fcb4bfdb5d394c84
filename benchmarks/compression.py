"""What compression costs in accuracy and saves in bytes, for every codec, with and without feedback.

Needs Fashion-MNIST (SGLR_DATA_DIR). What is trained already in ``--out`` is not trained again.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, median, pstdev
from typing import Any

import torch

import sglr
from record import machine, write_result
from sglr.assembly.build import build
from sglr.assembly.load_model import restored
from sglr.assembly.parts import Training
from sglr.compression.error_feedback import parse
from sglr.core.codec import Plain
from sglr.runs.config import Experiment

CODECS = (
    "none",
    "bf16",
    "fp16",
    "int8",
    "int8:feedback=true",
    "topk:0.1",
    "topk:0.1,feedback=true",
    "topk:0.03",
)
FEW_BITS = ("none", "int8", "up=int8,down=int4", "up=int4,down=int8", "int4", "up=int4,down=int2", "up=int2,down=int4")
FEW_BITS += ("int2",)
"""What ``--few-bits`` measures."""

METHODS = ("psl", "sglr")
SETTINGS = {
    "dataset": "fashion-mnist",
    "model": "cnn",
    "clients": 10,
    "samples_per_client": 600,
    "validation": 1000,
    "eval_clients": 5,
    "test_samples": 2000,
    "init": "independent",
    "threads": 1,
}


def train(experiment: Experiment, path: Path) -> sglr.Run:
    """Train, or go on from where the run in ``path`` stands."""
    if (path / "config.toml").is_file():
        return sglr.resume(path)
    return sglr.train(**experiment.flat(), out=path)


def accuracy_without_code(run: sglr.Run, built: Training) -> float:
    """Return the test accuracy of the same weights where smashed data reach the server as they are."""
    engine: Any = restored(run, built).trainer.engine
    engine.codec = Plain()
    return built.trainer.evaluate(built.data.test).mean("accuracy")


def measure(method: str, codec: str, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    own = {"method": method, "compression": codec, "seed": seed}
    scale = {"epochs": options.epochs, "image_size": options.image_size}
    experiment = Experiment.from_flat({**SETTINGS, **scale, **own})
    path = (
        options.out
        / str(options.image_size)
        / f"{method}-{codec.replace(':', '-').replace(',', '-').replace('=', '-')}-{seed}"
    )
    run = train(experiment, path)
    summary = run.summary
    assert summary is not None
    traffic = summary["communication"]["views"]["point_to_point"]
    return {
        "method": method,
        "compression": codec,
        "seed": seed,
        "step_bytes": traffic["per_step_bytes"]["mean"],
        "validation": summary["validation"]["accuracy"],
        "test": summary["test"]["accuracy"],
        "test_without_code": accuracy_without_code(run, build(experiment)),
        "seconds": summary["seconds"],
    }


def milliseconds(codec: str, rounds: int = 20) -> float:
    """Return the time to write and read a step of this network, all clients' samples at once."""
    smashed, code = torch.randn(80, 16, 14, 14).relu(), parse(codec)
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        code.received(smashed)
        times.append(time.perf_counter() - start)
    return round(1000 * median(times), 2)


def table(rows: list[dict[str, Any]], codecs: Sequence[str]) -> list[str]:
    """Return the table of ``docs/results/compression.md``: accuracies in %, mean ± standard deviation over seeds."""
    lines = [
        "| method | compression | KB per step | of `none` | validation | test | test, weights used without the code |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for method in METHODS:
        plain = next(row["step_bytes"] for row in rows if row["method"] == method and row["compression"] == "none")
        for codec in codecs:
            found = [row for row in rows if (row["method"], row["compression"]) == (method, codec)]
            figures = [
                f"{100 * mean(row[key] for row in found):.1f} ± {100 * pstdev(row[key] for row in found):.1f}"
                for key in ("validation", "test", "test_without_code")
            ]
            size = found[0]["step_bytes"]
            cells = (method, f"`{codec}`", f"{size / 1000:.0f}", f"{size / plain:.3f}", *figures)
            lines.append(f"| {' | '.join(cells)} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/compression"), help="folder of the runs")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--image-size", type=int, default=28)
    parser.add_argument("--write", action="store_true", help="keep the result under benchmarks/results")
    parser.add_argument("--few-bits", action="store_true", help="measure int4 and int2, each way and both, beside int8")
    options = parser.parse_args()
    codecs = FEW_BITS if options.few_bits else CODECS
    torch.set_num_threads(1)
    rows = [
        measure(method, codec, seed, options) for seed in range(options.seeds) for method in METHODS for codec in codecs
    ]
    chosen = "--few-bits " * options.few_bits
    chosen += f"--image-size {options.image_size} --seeds {options.seeds} --epochs {options.epochs}"
    result: dict[str, object] = {
        "machine": machine(),
        "command": f"python benchmarks/compression.py {chosen} --write",
        "settings": SETTINGS,
        "milliseconds": {codec: milliseconds(codec) for codec in codecs if "feedback" not in codec},
        "rows": rows,
    }
    name = f"{options.image_size}{'-few-bits' * options.few_bits}-cpu"
    write_result("compression", name, result, keep=options.write)
    print("\n".join(table(rows, codecs)))


if __name__ == "__main__":
    main()
