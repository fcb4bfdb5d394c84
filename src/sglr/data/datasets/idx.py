"""IDX files of your own, the format of MNIST: idx:PATH names their folder, or the image file beside its labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from sglr.core.data import Dataset
from sglr.core.errors import UsageError
from sglr.data.formats.files import first_file, resolve
from sglr.data.formats.idx import IMAGES, LABELS, read_idx
from sglr.data.images.dataset import Pixels, image_dataset
from sglr.data.images.new_pictures import as_trained
from sglr.data.new_samples import NewSamples, TrainedOn, numbered
from sglr.data.split import stratified_split

__all__ = ["Idx"]

TEST = {"t10k", "test"}  # words in names of files with test images


@dataclass(frozen=True)
class Idx:
    """Images in one file; labels in another, named with ``labels`` for ``images`` and ``idx1`` for ``idx3``."""

    path: str = field(default="", metadata={"help": "the folder, or the file of images", "by_run": True})
    image_size: int | None = field(
        default=None,
        metadata={"help": "height and width to resize to, in pixels; default: as stored", "clients": "take"},
    )
    image_channels: int | None = field(
        default=None, metadata={"help": "3 repeats the grey channel; default 1", "clients": "take"}
    )
    classes: tuple[str, ...] = field(
        default=(),
        metadata={"help": "the classes in order; default: 0, 1, 2 …, as the labels", "by_run": True},
    )
    first_label: int | None = field(
        default=None,
        metadata={"help": "label of the first class, such as 1 for EMNIST letters; default 0", "since": "0.2.0"},
    )
    test_fraction: float = field(
        default=0.2, metadata={"help": "fraction of the images held out for testing if there is no file of test images"}
    )
    split_seed: int = field(default=0, metadata={"help": "seed for drawing the test images"})

    def load(self, data_dir: Path | None) -> Dataset:
        """Read the files and hold out test images.

        Raises
        ------
        UsageError
            If a file is missing, damaged or ambiguous.
        """
        own, held = _image_files(resolve("idx", self.path, data_dir))
        train = _read(own)
        if held is None:
            rows = stratified_split(train.labels, self.test_fraction, self.split_seed)
            train, test = (train.select(part) for part in rows)
        else:
            test = _read(held)
        first, classes = self._classes(np.concatenate([train.labels, test.labels]), train.source)
        train, test = (part._replace(labels=part.labels - first) for part in (train, test))
        return image_dataset(f"idx:{self.path}", train, test, classes, self.image_size, self.image_channels)

    def read_new(self, trained: TrainedOn) -> NewSamples:
        """Read images by what they became in the training; of a folder, those for testing. Labels need not be there.

        Raises
        ------
        UsageError
            If a file is missing or damaged, or a label is no class of the network.
        """
        own, held = _image_files(resolve("idx", self.path, None))
        images = held or own
        pixels = read_idx(images, IMAGES)[..., None]
        found = NewSamples(as_trained(pixels, trained), numbered(len(pixels)))
        if _labels_of(images) is None or not trained.targets.are_classes:
            return found
        places = self._places(_read(images).labels, trained.targets.names, images)
        return replace(found, targets=torch.from_numpy(places))

    def _places(self, labels: NDArray[np.int64], names: Sequence[str], images: Path) -> NDArray[np.int64]:
        """Return the classes of new labels by their places in ``names``, the network's classes."""
        first = _count_from(names) if self.first_label is None else self.first_label
        if first is None and len(labels) and labels.all():
            problem = f"{images} has no label 0, and the class {names[0]} may be 0 or 1"
            raise UsageError("first_label", "none", problem, "give --first-label, as in training")
        first = first or 0
        wrong = (labels < first) | (labels >= first + len(names))
        if wrong.any():
            problem = f"{images} has a label of no class of the network ({first} to {first + len(names) - 1})"
            raise UsageError("labels", int(labels[wrong][0]), problem, "give --first-label, or other labels")
        return labels - first

    def _classes(self, labels: NDArray[np.int64], source: str) -> tuple[int, tuple[str, ...]]:
        """Return the label of the first class, and the names of the classes."""
        low, high = int(labels.min(initial=0xFF)), int(labels.max(initial=0))
        first = self.first_label
        if first is not None and first > low:
            problem = f"{source} or its test labels have the label {low}"
            raise UsageError("first_label", first, problem, f"give {low} or less")
        if not self.classes:
            # Labels that count from 1 would leave a class without samples.
            first = (1 if low == 1 else 0) if first is None else first
            return first, tuple(map(str, range(first, max(high, first + 1) + 1)))
        if first is None and low > 0 and high == len(self.classes):
            problem = f"{high} classes are given, and the labels in {source} count from 1 to {high}"
            raise UsageError("classes", ",".join(self.classes), problem, "give --first-label 1")
        return first or 0, self.classes


def _count_from(names: Sequence[str]) -> int | None:
    """Return the number from which the names of classes count, as in 1, 2, 3; None if they are other names."""
    first = int(names[0]) if names[0].isdecimal() else 0
    return first if tuple(names) == tuple(map(str, range(first, first + len(names)))) else None


def _image_files(place: Path) -> tuple[Path, Path | None]:
    """Return the file of training images and, if there is one, that of test images."""
    if place.is_file():
        return place, None
    found = sorted(path for path in place.iterdir() if "images" in path.name and "idx3" in path.name)
    held = [path for path in found if TEST & set(path.name.split("-"))]
    own = [path for path in found if path not in held]
    if not own:
        problem = "has no image file, such as train-images-idx3-ubyte.gz"
        raise UsageError("idx", place, problem, "give the folder of the files, or the image file itself")
    for files in (own, held):
        if len(files) > 1:
            problem = f"has several image files: {', '.join(path.name for path in files)}"
            raise UsageError("idx", place, problem, "give one of these files")
    return own[0], held[0] if held else None


def _label_name(images: Path) -> str:
    return images.name.removesuffix(".gz").replace("images", "labels").replace("idx3", "idx1")


def _labels_of(images: Path) -> Path | None:
    """Return the file of labels beside that of images; None if there is none."""
    stem = _label_name(images)
    labels = first_file(images.parent, (stem, f"{stem}.gz"))
    return None if labels == images else labels


def _read(images: Path) -> Pixels:
    labels = _labels_of(images)
    if labels is None:
        place = images.parent / _label_name(images)
        raise UsageError("idx", place, "label file not found beside the images", "put it there")
    values, targets = read_idx(images, IMAGES), read_idx(labels, LABELS)
    return Pixels(values[..., None], targets.astype(np.int64), str(images))
