"""Fine-tune a ResNet-18 whose first layers are public and stay frozen: three sites learn digits that it has never seen.

pip install 'sglr[vision]'
python examples/frozen_stem.py
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits

import sglr

STEM = "conv1+bn1+layer1"
SETTINGS: dict[str, Any] = {"model": "torchvision:resnet18", "batch_size": 16, "lr": 1e-3, "threads": 1}


def main() -> None:
    pictures, digits = load_digits(return_X_y=True)
    seen = digits < 6
    weights = public_network(dataset(pictures[seen], digits[seen]), Path("runs/public.pt"))
    private = dataset(pictures[~seen], digits[~seen] - 6)
    tuned = {"dataset": private, "weights": weights, "freeze": STEM, **SETTINGS}
    central = told("all data in one place", sglr.train("cl", epochs=3, **tuned))
    # Clients hold the stem and the second stage, of which the stage alone is trained, averaged and sent.
    split = told("three sites", sglr.train("sfl", epochs=4, clients=3, cut="layer2", **tuned))
    print(f"accuracy against the same network on all data: {split - central:+.3f}")


def dataset(pictures: np.ndarray, labels: np.ndarray) -> sglr.Dataset:
    """Return pictures of 16 x 16 pixels, in [-1, 1], 160 of them for the test."""
    larger = np.kron(pictures.reshape(-1, 1, 8, 8), np.ones((2, 2))) / 8 - 1
    train, test = (
        sglr.Samples(torch.tensor(larger[part], dtype=torch.float32), torch.tensor(labels[part]))
        for part in (slice(160, 560), slice(160))
    )
    return sglr.Dataset("digits", train, test, tuple(map(str, range(labels.max() + 1))))


def public_network(data: sglr.Dataset, file: Path) -> Path:
    """Train what others may have published, and keep its weights in a file."""
    run = sglr.train("cl", dataset=data, epochs=2, **SETTINGS)
    state = run.network().module().state_dict()
    named = {name.removeprefix("client."): tensor for name, tensor in state.items()}
    # How inputs are standardised is told by the name of the model, and is no weight of torchvision's.
    torch.save({name: tensor for name, tensor in named.items() if not name.startswith("input_")}, file)
    return file


def told(what: str, run: sglr.Run) -> float:
    summary = run.summary or {}
    counts, sent = summary["parameters"], summary["communication"]["by_kind"]["up"].get("weights", 0)
    print(
        f"{what:22} {summary['test']['accuracy']:.3f} of test pictures right; a client trains {counts['client']:,} "
        f"weights, {counts['client_frozen']:,} stay; {sent / 1e6:.1f} MB of weights sent   {run.path / 'report.html'}"
    )
    return float(summary["test"]["accuracy"])


if __name__ == "__main__":
    main()
