"""CIFAR-100: 32 x 32 colour pictures in 100 classes, 50,000 for training and 10,000 for test."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from sglr.core.data import Dataset
from sglr.data.formats.cifar_dataset import Layout, load_cifar
from sglr.data.shape import Shape

__all__ = ["Cifar100"]

LAYOUT = Layout(
    name="cifar100",
    classes=100,
    folder="cifar-100-binary",
    archive="cifar-100-binary.tar.gz",
    python=("cifar-100-python", "cifar-100-python.tar.gz"),
    train=("train.bin",),
    test=("test.bin",),
    class_names="fine_label_names.txt",
    label_bytes=2,
    repository="uoft-cs/cifar100",
    label_column="fine_label",
)


@dataclass(frozen=True)
class Cifar100:
    """CIFAR-100 with its 100 fine labels (Krizhevsky, 2009)."""

    stored: ClassVar[Shape] = Shape((3, 32, 32), classes=100, train=50_000, validation=5_000)

    image_size: int | None = field(
        default=None, metadata={"help": "height and width to resize to, in pixels; default 32", "clients": "take"}
    )
    image_channels: int | None = field(
        default=None, metadata={"help": "1 converts to grey; default 3", "clients": "take"}
    )

    def load(self, data_dir: Path | None) -> Dataset:
        """Load the official binary files, or fetch them; see `sglr.data.formats.cifar_dataset.load_cifar`."""
        return load_cifar(LAYOUT, data_dir, self.image_size, self.image_channels)
