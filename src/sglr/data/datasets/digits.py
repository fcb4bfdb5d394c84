"""Handwritten digits, 8 x 8 grey pixels, 1437 for training and 360 for test."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np

from sglr.core.data import Dataset
from sglr.data.images.dataset import Pixels, image_dataset
from sglr.data.shape import Shape
from sglr.data.split import stratified_split

__all__ = ["Digits"]

FILE = Path(__file__).with_name("digits.csv.gz")


@dataclass(frozen=True)
class Digits:
    """The optical recognition of handwritten digits data set (Alpaydin and Kaynak, 1998).

    It is the file that scikit-learn has of it (``load_digits``); the UCI repository gives it under CC BY 4.0.
    """

    stored: ClassVar[Shape] = Shape((1, 8, 8), classes=10, train=1437, validation=143)

    image_size: int | None = field(
        default=None, metadata={"help": "height and width to resize to, in pixels; default 8", "clients": "take"}
    )
    image_channels: int | None = field(
        default=None, metadata={"help": "3 repeats the grey channel; default 1", "clients": "take"}
    )

    def load(self, data_dir: Path | None) -> Dataset:  # noqa: ARG002 - it needs no files
        """Return the data set; ``data_dir`` is not needed."""
        table = np.loadtxt(FILE, delimiter=",", dtype=np.int64)
        # Pixels are 0 to 16; scale them to bytes as in every other image set.
        values = np.rint(table[:, :-1] * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8, 1)
        labels = table[:, -1]
        train, test = (Pixels(values[rows], labels[rows], "digits") for rows in stratified_split(labels, 0.2, seed=0))
        classes = [str(digit) for digit in range(10)]
        return image_dataset("digits", train, test, classes, self.image_size, self.image_channels)
