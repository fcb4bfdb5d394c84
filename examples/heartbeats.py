"""Find premature heartbeats in ECG-like series with a 1-D CNN, at six wards with different noise and heart rates."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

import sglr

POINTS, WARDS = 200, 6
SETTINGS: dict[str, Any] = {"task": "binary", "model": "cnn1d", "epochs": 6, "batch_size": 16, "lr": 3e-3}


def main() -> None:
    rng = np.random.default_rng(0)
    data = sglr.Dataset("heartbeats", draw(960, rng), draw(240, rng), classes=("regular", "premature"))
    central = train("all data in one place", "cl", data)
    # Each ward has recordings of its own kind: the partition is by the column "ward".
    wards: dict[str, Any] = {"clients": WARDS, "partition": "natural", "partition_by": "ward"}
    split = train("six wards", "sglr", data, **wards)
    # Labels stay: the wards have the last layers, too, and average what is theirs.
    stay = train("six wards, labels stay", "sfl", data, tail="pool2", **wards)
    print(f"against the same network on all data: {split - central:+.3f}, with labels that stay {stay - central:+.3f}")


def draw(number: int, rng: np.random.Generator) -> sglr.Samples:
    """Draw series ``[N, 1, POINTS]`` of heartbeats, in half of which one is early and wide, and the ward of each."""
    series = np.zeros((number, 1, POINTS), np.float32)
    labels, wards = rng.integers(0, 2, number), rng.integers(0, WARDS, number)
    time = np.arange(POINTS)
    for one, label, ward in zip(series, labels, wards, strict=True):
        distance = 28 + 3 * ward + rng.normal(0, 1)
        beats = np.arange(rng.uniform(5, distance), POINTS, distance)
        early = rng.integers(1, len(beats)) if label else -1
        for number_of_beat, beat in enumerate(beats):
            at, width = (beat - 0.3 * distance, 4.0) if number_of_beat == early else (beat, 1.5)
            one[0] += np.exp(-(((time - at) / width) ** 2)) + 0.25 * np.exp(-(((time - at - 9) / 4) ** 2))
        one[0] += rng.normal(0, 0.05 + 0.02 * ward, POINTS)
    names = np.array([f"ward {ward}" for ward in wards], dtype=object)
    return sglr.Samples(torch.from_numpy(series), torch.from_numpy(labels), {"ward": names})


def train(what: str, method: str, data: sglr.Dataset, **settings: Any) -> float:
    run = sglr.train(method, dataset=data, **SETTINGS, **settings)
    assert run.summary is not None
    auroc = run.summary["test"]["scores"]["auroc"]
    print(
        f"{what:24} AUROC {auroc['mean']:.3f} ({auroc['low']:.3f} to {auroc['high']:.3f})   {run.path / 'report.html'}"
    )
    return float(auroc["mean"])


if __name__ == "__main__":
    main()
