"""Models at whose cut several values cross, and data for them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sglr.core.data import Dataset, Samples
from sglr.core.task import Targets


class UNet(nn.Module):
    """A U-Net: at its bottleneck three values cross."""

    default_cut = "bottom"

    def __init__(self, classes: int = 2, width: int = 4) -> None:
        super().__init__()
        self.down1 = nn.Sequential(nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(inplace=True))
        self.down2 = nn.Sequential(nn.Conv2d(width, 2 * width, 3, 2, 1), nn.ReLU(inplace=True))
        self.bottom = nn.Sequential(nn.Conv2d(2 * width, 4 * width, 3, 2, 1), nn.ReLU(inplace=True))
        self.up2, self.up1 = nn.Conv2d(6 * width, 2 * width, 3, 1, 1), nn.Conv2d(3 * width, width, 3, 1, 1)
        self.head = nn.Conv2d(width, classes, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Return scores of the classes of every pixel, ``[b, K, height, width]``."""
        batch, _, height, width = x.shape
        first = self.down1(x)
        second = self.down2(first)
        up = F.interpolate(self.bottom(second), size=(height // 2, width // 2))
        up = F.relu(self.up2(torch.cat((up, second), 1)))
        up = F.relu(self.up1(torch.cat((F.interpolate(up, size=(height, width)), first), 1)))
        return {"out": self.head(up).reshape(batch, -1, height, width)}


class Lines(nn.Module):
    """Texts, with a mask and the numbers of tokens beside what is learned."""

    default_cut = "mix"

    def __init__(self, classes: int = 2, vocabulary: int = 30, width: int = 6) -> None:
        super().__init__()
        self.embed, self.mix = nn.Embedding(vocabulary, width), nn.Linear(width, width)
        self.weigh, self.head = nn.Linear(width, vocabulary), nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return scores of the classes, ``[b, K]``, of tokens ``[b, L]``; 0 is padding."""
        ids, padding = x + 0, x == 0
        states = torch.tanh(self.mix(self.embed(x)))
        weights = self.weigh(states.mean(1)).gather(1, ids).masked_fill(padding, -1e9)
        return self.head((states * torch.softmax(weights, 1)[:, :, None]).sum(1))


class Skips(nn.Module):
    """Pictures of digits: at the cut a skip connection, a mask and numbers between 0 and 15 cross."""

    default_cut = "second"

    def __init__(self, input_shape: tuple[int, ...] = (1, 8, 8), classes: int = 10) -> None:
        super().__init__()
        pixels = input_shape[1] * input_shape[2]
        # Rows of weights that begin at a multiple of 64 bytes are multiplied as where they are alone, to the last bit.
        self.first, self.second = nn.Conv2d(1, 16, 3, padding=1), nn.Conv2d(16, 16, 3, 2, 1)
        self.join, self.weigh = nn.Conv2d(32, 6, 1), nn.Linear(6, 16)
        self.head = nn.Linear(6 * pixels, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return scores of the classes ``[b, K]`` of pictures ``[b, 1, height, width]``."""
        levels, dark = (x * 15).clamp(0, 15).to(torch.int64), x < 0.2
        first = torch.relu(self.first(x))
        second = F.interpolate(self.second(first), size=x.shape[2:])
        joined = self.join(torch.cat([first, second], 1)).masked_fill(dark, 0.0)
        weights = torch.sigmoid(self.weigh(joined.mean((2, 3)))).gather(1, levels.flatten(1))
        return self.head((joined * weights.reshape(levels.shape)).flatten(1))


def squares(count: int = 48, side: int = 8) -> Dataset:
    """Return pictures with a bright square, whose pixels are to be found."""
    rng = torch.Generator().manual_seed(0)
    images = torch.randn(count, 1, side, side, generator=rng) * 0.3
    masks = torch.zeros(count, side, side, dtype=torch.int64)
    for number, (row, column) in enumerate(torch.randint(0, side - 3, (count, 2), generator=rng).tolist()):
        masks[number, row : row + 4, column : column + 4] = 1
    return _divided(images + masks[:, None], masks, targets=Targets(("no", "yes"), (side, side), "int64", 2))


def lines(count: int = 48, length: int = 7) -> Dataset:
    """Return texts of two classes, of which each has words of its own."""
    rng = torch.Generator().manual_seed(0)
    classes = torch.arange(count) % 2
    tokens = torch.randint(1, 15, (count, length), generator=rng) + 15 * classes[:, None]
    ends = torch.randint(2, length + 1, (count,), generator=rng)
    padded = tokens.clamp(max=29).masked_fill(torch.arange(length) >= ends[:, None], 0)
    return _divided(padded, classes, classes=("no", "yes"))


def _divided(inputs: Tensor, wanted: Tensor, **kind: Any) -> Dataset:
    parts = [Samples(inputs[start::4], wanted[start::4]) for start in range(4)]
    train = Samples(torch.cat([inputs[0::4], inputs[1::4]]), torch.cat([wanted[0::4], wanted[1::4]]))
    return Dataset("several values", train, parts[3], **kind)
