"""Fashion-MNIST: 28 x 28 grey pictures of 10 kinds of clothes, 60,000 for training and 10,000 for test."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from sglr.core.data import Dataset
from sglr.data.formats.idx_dataset import load_idx_dataset
from sglr.data.shape import Shape

__all__ = ["FashionMnist"]

CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)


@dataclass(frozen=True)
class FashionMnist:
    """Fashion-MNIST (Xiao, Rasul and Vollgraf, 2017, arXiv 1708.07747)."""

    stored: ClassVar[Shape] = Shape((1, 28, 28), classes=10, train=60_000, validation=10_000)

    image_size: int | None = field(
        default=None, metadata={"help": "height and width to resize to, in pixels; default 28", "clients": "take"}
    )
    image_channels: int | None = field(
        default=None, metadata={"help": "3 repeats the grey channel; default 1", "clients": "take"}
    )

    def load(self, data_dir: Path | None) -> Dataset:
        """Load the official files, or fetch them; see `sglr.data.formats.idx_dataset.load_idx_dataset`."""
        return load_idx_dataset(
            name="fashion-mnist",
            torchvision="FashionMNIST",
            repository="zalando-datasets/fashion_mnist",
            classes=CLASSES,
            data_dir=data_dir,
            image_size=self.image_size,
            image_channels=self.image_channels,
        )
