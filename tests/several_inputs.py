"""Models that take several inputs, and data for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

KINDS = 5


class PictureAndRow(nn.Module):
    """A picture, numbers of kinds and an age, each with a layer of its own, joined behind these."""

    default_cut = "look"

    def __init__(self, input_shape: Mapping[str, tuple[int, ...]], classes: int) -> None:
        super().__init__()
        pixels, kinds = input_shape["image"], input_shape["kinds"]
        assert input_shape["age"] == ()
        self.look = nn.Conv2d(pixels[0], 4, 3, 2, 1)
        self.embed, self.years = nn.Embedding(KINDS, 3), nn.Linear(1, 3)
        self.join = nn.Linear(4 * (pixels[1] // 2) * (pixels[2] // 2) + 3 * kinds[0] + 3, 16)
        self.head = nn.Linear(16, classes)

    def forward(self, image: Tensor, kinds: Tensor, age: Tensor, scale: float = 1.0) -> Tensor:
        """Return scores of the classes ``[b, K]``."""
        parts = [torch.tanh(self.look(image)), self.embed(kinds), self.years(age[:, None])]
        joined = torch.tanh(self.join(torch.cat([part.flatten(1) for part in parts], 1)))
        return scale * self.head(joined)


class Raw(nn.Module):
    """Takes a dict; the age is joined with the others as it is."""

    default_cut = "look"

    def __init__(self, input_shape: Any = None, classes: int = 3) -> None:
        super().__init__()
        self.look, self.embed = nn.Linear(64, 8), nn.Embedding(KINDS, 3)
        self.join, self.head = nn.Linear(8 + 6 + 1, 8), nn.Linear(8, classes)

    def forward(self, sample: Mapping[str, Tensor]) -> Tensor:
        """Return scores of the classes ``[b, K]``."""
        look = torch.tanh(self.look(sample["image"].flatten(1)))
        joined = torch.cat([look, self.embed(sample["kinds"]).flatten(1), sample["age"][:, None]], 1)
        return self.head(torch.tanh(self.join(joined)))


class Looped(nn.Module):
    """Two texts, by code that no tracer takes."""

    default_cut = "blocks.0"

    def __init__(self, input_shape: Any = None, classes: int = 2) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(KINDS, 6), nn.Linear(6, classes)
        self.blocks = nn.ModuleList(nn.Linear(6, 6) for _ in range(3))

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Return scores of the classes ``[b, K]``."""
        if float(first.float().mean()) < 0:
            first = -first
        states = self.embed(first).mean(1) - self.embed(second).mean(1)
        for block in self.blocks:
            states = torch.tanh(block(states))
        return self.head(states)


class OneText(nn.Module):
    """One text."""

    def __init__(self, input_shape: Any = None, classes: int = 2) -> None:
        super().__init__()
        self.embed, self.join, self.head = nn.Embedding(KINDS, 6), nn.Linear(6, 8), nn.Linear(8, classes)

    def forward(self, text: Tensor) -> Tensor:
        """Return scores of the classes ``[b, K]``."""
        return self.head(torch.tanh(self.join(self.embed(text).mean(1))))


class Counted(PictureAndRow):
    """Its kinds may have any number: they are embedded by what is left of a division by 5."""

    def forward(self, image: Tensor, kinds: Tensor, age: Tensor, scale: float = 1.0) -> Tensor:
        """Return scores of the classes ``[b, K]``."""
        return super().forward(image, kinds // torch.clamp(kinds.max() // 4, min=1) % KINDS, age, scale)


def arrays(count: int = 60) -> tuple[dict[str, NDArray[Any]], NDArray[np.int64]]:
    """Return samples of three classes, which the picture, the kinds and the age each tell in part."""
    rng = np.random.default_rng(0)
    classes = np.arange(count) % 3
    image = rng.normal(0, 0.5, (count, 1, 8, 8)).astype(np.float32)
    image[:, 0, 0] += classes[:, None] == 1
    kinds = rng.integers(0, KINDS - 1, (count, 2))
    kinds[classes == 2] += 1
    age = (rng.normal(0, 1, count) + classes).astype(np.float32)
    return {"image": image, "kinds": kinds, "age": age}, classes
