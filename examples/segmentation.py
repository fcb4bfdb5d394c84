"""Find shapes in noisy pictures at four hospitals, whose masks never leave them (U-shape)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

import sglr

SIDE, SHAPES = 24, ("background", "square", "disc")
SETTINGS: dict[str, Any] = {"task": "segmentation", "loss": "dice_cross_entropy", "ignore_index": 255, "model": "fcn"}


def main() -> None:
    rng = np.random.default_rng(0)
    data = sglr.Dataset(
        "shapes",
        draw(320, rng),
        draw(80, rng),
        targets=sglr.Targets(SHAPES, (SIDE, SIDE), "uint8", len(SHAPES)),
    )
    central = train("all data in one place", "cl", data, epochs=6)
    # The server has the layers between: it sees neither a picture nor a mask. Clients average their layers.
    split = train("four hospitals", "sfl", data, epochs=12, clients=4, tail="relu5")
    print(f"mean Dice against the same network on all data: {split - central:+.3f}")


def draw(number: int, rng: np.random.Generator) -> sglr.Samples:
    """Draw pictures ``[N, 1, SIDE, SIDE]`` of a square and a disc on noise, and masks with a border of no class."""
    pictures = rng.normal(0, 0.4, (number, 1, SIDE, SIDE)).astype(np.float32)
    masks = np.zeros((number, SIDE, SIDE), np.uint8)
    down, right = np.mgrid[:SIDE, :SIDE]
    for picture, mask in zip(pictures, masks, strict=True):
        (y, x), (b, a) = rng.integers(4, SIDE - 4, (2, 2))
        radius = rng.integers(3, 6)
        mask[np.maximum(abs(down - y), abs(right - x)) <= radius] = 1
        mask[(down - b) ** 2 + (right - a) ** 2 <= radius**2] = 2
        picture += np.choose(mask, (0, 1, -1)).astype(np.float32)
    masks[:, [0, -1]] = 255
    return sglr.Samples(torch.from_numpy(pictures), torch.from_numpy(masks))


def train(what: str, method: str, data: sglr.Dataset, **settings: Any) -> float:
    run = sglr.train(method, dataset=data, batch_size=8, lr=2e-3, **SETTINGS, **settings)
    assert run.summary is not None
    test = run.summary["test"]
    each = ", ".join(f"{one['name']} {one['dice']:.2f}" for one in test["per_class"])
    print(f"{what:22} mean Dice {test['dice']:.3f} ({each})   {run.path / 'report.html'}")
    return float(test["dice"])


if __name__ == "__main__":
    main()
