"""Train on two inputs per sample: a picture of the upper half of a digit, and a table of the ink in the lower half."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from torch import Tensor, nn

import sglr


class PictureAndTable(nn.Module):
    """Each input has a layer of its own at the client; the server joins them."""

    default_cut = "look"

    def __init__(self, input_shape: Mapping[str, tuple[int, ...]], classes: int) -> None:
        super().__init__()
        _, height, width = input_shape["picture"]
        self.look = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU())
        self.read = nn.Sequential(nn.Linear(input_shape["ink"][0], 32), nn.ReLU())
        self.join = nn.Sequential(nn.Linear(16 * height * width + 32, 64), nn.ReLU(), nn.Linear(64, classes))

    def forward(self, picture: Tensor, ink: Tensor) -> Tensor:
        scores: Tensor = self.join(torch.cat([self.look(picture).flatten(1), self.read(ink)], 1))
        return scores


class PictureAlone(PictureAndTable):
    """The same network without the table."""

    def forward(self, picture: Tensor, ink: Tensor) -> Tensor:
        return super().forward(picture, torch.zeros_like(ink))


def main() -> None:
    digits = load_digits()
    pixels = (digits.images / 8 - 1).astype(np.float32)
    lower = pixels[:, 4:]
    ink = np.concatenate([lower.mean(1), lower.mean(2)], 1)  # of each column, and of each row
    data = {"picture": pixels[:, None, :4], "ink": ink}, digits.target
    train("the picture alone", "cl", PictureAlone, data)
    central = train("both, all data in one place", "cl", PictureAndTable, data)
    split = train("both, four clients", "sglr", PictureAndTable, data, clients=4)
    print(f"accuracy against the same network on all data: {split - central:+.3f}")


def train(what: str, method: str, model: Any, data: tuple[dict[str, NDArray[Any]], Any], **settings: Any) -> float:
    run = sglr.train(method, dataset=data, model=model, epochs=12, lr=1e-3, **settings)
    assert run.summary is not None
    accuracy = float(run.summary["test"]["accuracy"])
    print(f"{what:28} {100 * accuracy:5.1f} %   {run.path / 'report.html'}")
    return accuracy


if __name__ == "__main__":
    main()
