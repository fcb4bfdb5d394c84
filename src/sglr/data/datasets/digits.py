"""Handwritten digits, 8 x 8 grey pixels, 1437 for training and 360 for test; comes with scikit-learn."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

import numpy as np

from sglr.core.data import Dataset
from sglr.data.images.dataset import Pixels, image_dataset
from sglr.data.shape import Shape
from sglr.data.split import stratified_split

__all__ = ["Digits"]


@dataclass(frozen=True)
class Digits:
    """The optical recognition of handwritten digits data set (Alpaydin and Kaynak, 1998)."""

    stored: ClassVar[Shape] = Shape((1, 8, 8), classes=10, train=1437, validation=143)

    image_size: int | None = field(
        default=None, metadata={"help": "height and width to resize to, in pixels; default 8", "clients": "take"}
    )
    image_channels: int | None = field(
        default=None, metadata={"help": "3 repeats the grey channel; default 1", "clients": "take"}
    )

    def load(self, data_dir: Path | None) -> Dataset:  # noqa: ARG002 - it needs no files
        """Return the data set; ``data_dir`` is not needed."""
        table = np.loadtxt(_file(), delimiter=",", dtype=np.int64)
        # Pixels are 0 to 16; scale them to bytes as in every other image set.
        values = np.rint(table[:, :-1] * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8, 1)
        labels = table[:, -1]
        train, test = (Pixels(values[rows], labels[rows], "digits") for rows in stratified_split(labels, 0.2, seed=0))
        classes = [str(digit) for digit in range(10)]
        return image_dataset("digits", train, test, classes, self.image_size, self.image_channels)


def _file() -> Path:
    # Importing scikit-learn to call load_digits takes seconds; its file is read in milliseconds.
    package = find_spec("sklearn")
    assert package is not None and package.origin is not None
    return Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"
