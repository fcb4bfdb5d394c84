"""CIFAR-10: 32 x 32 colour pictures in 10 classes, 50,000 for training and 10,000 for test."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from sglr.core.data import Dataset
from sglr.data.formats.cifar_dataset import Layout, load_cifar
from sglr.data.shape import Shape

__all__ = ["Cifar10"]

LAYOUT = Layout(
    name="cifar10",
    classes=10,
    folder="cifar-10-batches-bin",
    archive="cifar-10-binary.tar.gz",
    python=("cifar-10-batches-py", "cifar-10-python.tar.gz"),
    train=tuple(f"data_batch_{number}.bin" for number in range(1, 6)),
    test=("test_batch.bin",),
    class_names="batches.meta.txt",
    label_bytes=1,
    repository="uoft-cs/cifar10",
    label_column="label",
)


@dataclass(frozen=True)
class Cifar10:
    """CIFAR-10 (Krizhevsky, 2009)."""

    stored: ClassVar[Shape] = Shape((3, 32, 32), classes=10, train=50_000, validation=5_000)

    image_size: int | None = field(
        default=None, metadata={"help": "height and width to resize to, in pixels; default 32", "clients": "take"}
    )
    image_channels: int | None = field(
        default=None, metadata={"help": "1 converts to grey; default 3", "clients": "take"}
    )

    def load(self, data_dir: Path | None) -> Dataset:
        """Load the official binary files, or fetch them; see `sglr.data.formats.cifar_dataset.load_cifar`."""
        return load_cifar(LAYOUT, data_dir, self.image_size, self.image_channels)
