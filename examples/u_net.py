"""Cut a U-Net at its bottleneck: three values cross to the server, and masks stay at four hospitals (U-shape)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import sglr

SIDE, SHAPES = 24, ("background", "square", "disc")


class UNet(nn.Module):
    """Two steps down, two steps up; each step up also sees what was on its level before."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.down1, self.down2 = layer(1, width), layer(width, 2 * width)
        self.bottom = layer(2 * width, 4 * width)
        self.up2, self.up1 = layer(6 * width, 2 * width), layer(3 * width, width)
        self.head = nn.Conv2d(width, len(SHAPES), 1)

    def forward(self, pictures: Tensor) -> dict[str, Tensor]:
        first = self.down1(pictures)
        second = self.down2(F.max_pool2d(first, 2))
        third = self.bottom(F.max_pool2d(second, 2))
        up = self.up2(torch.cat([F.interpolate(third, scale_factor=2.0), second], 1))
        up = self.up1(torch.cat([F.interpolate(up, scale_factor=2.0), first], 1))
        return {"out": self.head(up)}


def layer(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU(inplace=True))


def main() -> None:
    rng = np.random.default_rng(0)
    targets = sglr.Targets(SHAPES, (SIDE, SIDE), "uint8", len(SHAPES))
    data = sglr.Dataset("shapes", draw(320, rng), draw(80, rng), targets=targets)
    for place in sglr.every_cut(UNet()):
        print(f"behind {place.layer:9} cross: {', '.join(place.crossing)}")
    central = train("all data in one place", "cl", data, epochs=6)
    # The server has one layer up; the hospitals have all the others, and with them pictures and masks.
    split = train("four hospitals", "sfl", data, epochs=10, clients=4, cut="bottom", tail="up2", compression="int8")
    print(f"mean Dice against the same network on all data: {split - central:+.3f}")


def draw(number: int, rng: np.random.Generator) -> sglr.Samples:
    """Draw pictures ``[N, 1, SIDE, SIDE]`` of a square and a disc on noise, and their masks."""
    pictures = rng.normal(0, 0.4, (number, 1, SIDE, SIDE)).astype(np.float32)
    masks = np.zeros((number, SIDE, SIDE), np.uint8)
    down, right = np.mgrid[:SIDE, :SIDE]
    for picture, mask in zip(pictures, masks, strict=True):
        (y, x), (b, a) = rng.integers(4, SIDE - 4, (2, 2))
        radius = rng.integers(3, 6)
        mask[np.maximum(abs(down - y), abs(right - x)) <= radius] = 1
        mask[(down - b) ** 2 + (right - a) ** 2 <= radius**2] = 2
        picture += np.choose(mask, (0, 1, -1)).astype(np.float32)
    return sglr.Samples(torch.from_numpy(pictures), torch.from_numpy(masks))


def train(what: str, method: str, data: sglr.Dataset, **settings: Any) -> float:
    run = sglr.train(method, dataset=data, model=make, task="segmentation", batch_size=8, lr=2e-3, **settings)
    assert run.summary is not None
    dice = float(run.summary["test"]["dice"])
    sent = run.summary["communication"]["by_kind"]["up"]
    print(f"{what:22} mean Dice {dice:.3f}; sent up: {', '.join(sent) or 'nothing'}   {run.path / 'report.html'}")
    return dice


def make(input_shape: tuple[int, ...], classes: int) -> UNet:
    del input_shape, classes
    return UNet()


if __name__ == "__main__":
    main()
