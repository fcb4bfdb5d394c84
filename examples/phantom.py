"""Find organs in phantoms of MONAI, at clinics with scanners of different noise, whose label maps stay (U-shape)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from monai.data.synthetic import create_test_image_2d

import sglr

SIDE, CLINICS, ORGANS = 48, 3, ("background", "liver", "kidney", "spleen")
SETTINGS: dict[str, Any] = {"task": "segmentation", "loss": "dice_cross_entropy", "model": "fcn", "batch_size": 8}


def main() -> None:
    data = sglr.Dataset(
        "phantoms", draw(240, 0), draw(60, 1), targets=sglr.Targets(ORGANS, (SIDE, SIDE), "uint8", len(ORGANS))
    )
    central = train("all data in one place", "cl", data, epochs=8)
    # Each clinic keeps pictures and label maps; the server has the layers between. Clinics average their layers.
    clinics: dict[str, Any] = {"clients": CLINICS, "partition": "natural", "partition_by": "clinic"}
    split = train("three clinics", "sfl", data, epochs=8, tail="relu5", **clinics)
    print(f"mean Dice against the same network on all data: {split - central:+.3f}")


def draw(number: int, seed: int) -> sglr.Samples:
    """Draw pictures ``[N, 1, SIDE, SIDE]`` of discs of three brightnesses, and the class of every pixel."""
    random = np.random.RandomState(seed)
    clinics = random.randint(CLINICS, size=number)
    drawn = [
        create_test_image_2d(
            SIDE, SIDE, num_objs=6, rad_max=10, noise_max=0.1 + 0.1 * clinic, num_seg_classes=3, random_state=random
        )
        for clinic in clinics
    ]
    pictures = torch.tensor(np.stack([picture for picture, _ in drawn]), dtype=torch.float32)[:, None]
    masks = torch.tensor(np.stack([mask for _, mask in drawn]).astype(np.uint8))
    return sglr.Samples(pictures, masks, {"clinic": np.array([f"clinic {one}" for one in clinics], dtype=object)})


def train(what: str, method: str, data: sglr.Dataset, **settings: Any) -> float:
    run = sglr.train(method, dataset=data, lr=2e-3, **SETTINGS, **settings)
    assert run.summary is not None
    test = run.summary["test"]
    each = ", ".join(f"{one['name']} {one['dice']:.2f}" for one in test["per_class"])
    print(f"{what:22} mean Dice {test['dice']:.3f} ({each})   {run.path / 'report.html'}")
    return float(test["dice"])


if __name__ == "__main__":
    main()
