"""Pictures of your own: folder:PATH names a folder with one subfolder of pictures for each class."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from sglr.core.data import Dataset
from sglr.core.errors import UsageError
from sglr.data.classes import refuse_unknown
from sglr.data.files import resolve
from sglr.data.images import Pixels, image_dataset
from sglr.data.pictures import read_picture, stack_pictures
from sglr.data.split import stratified_split

__all__ = ["Folder"]

PARTS = {"train", "training", "val", "valid", "validation", "test", "testing"}
ENDINGS = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}


@dataclass(frozen=True)
class Folder:
    """A folder of pictures, or one with the subfolders ``train`` and ``test`` that are such folders."""

    path: str = field(default="", metadata={"help": "the folder"})
    image_size: int | None = field(
        default=32, metadata={"help": "resize to so many pixels squared; none if all have one size"}
    )
    image_channels: int | None = field(
        default=None, metadata={"help": "1 for grey, 3 for colour; default colour unless all are grey"}
    )
    classes: tuple[str, ...] = field(
        default=(), metadata={"help": "the classes in their order; default all there are, sorted"}
    )
    test_fraction: float = field(
        default=0.2, metadata={"help": "part of the pictures held apart where there is no folder test"}
    )
    split_seed: int = field(default=0, metadata={"help": "seed of the draw of the test pictures"})

    def load(self, data_dir: Path | None) -> Dataset:
        """Read the pictures and hold test pictures apart.

        Raises
        ------
        UsageError
            If a folder is missing or empty, a picture is unreadable, or its class none of those that are given.
        """
        root = resolve("folder", self.path, data_dir)
        name = f"folder:{self.path}"
        if not (root / "train").is_dir() or not (root / "test").is_dir():
            classes = self._classes(root)
            pixels = self._read(root, classes)
            own, held = stratified_split(pixels.labels, self.test_fraction, self.split_seed)
            train, test = (Pixels(pixels.values[r], pixels.labels[r], pixels.source) for r in (own, held))
        else:
            classes = self._classes(root / "train")
            _check_same(classes, self._classes(root / "test"), root)
            train, test = (self._read(root / part, classes) for part in ("train", "test"))
        channels = self.image_channels or max(train.values.shape[3], test.values.shape[3])
        return image_dataset(name, train, test, classes, image_channels=channels)

    def _classes(self, root: Path) -> list[str]:
        if not self.classes:
            return _subfolders(root, least=2)
        refuse_unknown(_subfolders(root, least=1), self.classes, str(root))
        return list(self.classes)

    def _read(self, root: Path, classes: list[str]) -> Pixels:
        there = [(label, root / name) for label, name in enumerate(classes) if (root / name).is_dir()]
        files = [(path, label) for label, folder in there for path in _pictures(folder)]
        values = stack_pictures((read_picture(path) for path, _ in files), str(root), self.image_size)
        return Pixels(values, np.array([label for _, label in files], dtype=np.int64), str(root))


def _subfolders(root: Path, least: int) -> list[str]:
    if not root.is_dir():
        raise UsageError("folder", root, "not a folder", "give a folder with one subfolder for each class")
    names = sorted(path.name for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    if len(names) < least:
        needs = "learning needs two classes" if least > 1 else "each class is one"
        problem = f"has {len(names)} subfolder(s), and {needs}"
        raise UsageError("folder", root, problem, "put the pictures of each class into a subfolder of its own")
    if set(names) <= PARTS:
        problem = f"its subfolders {', '.join(names)} are parts of a data set, not classes"
        raise UsageError("folder", root, problem, "name the folder of test pictures 'test' and the other 'train'")
    return names


def _check_same(train: list[str], test: list[str], root: Path) -> None:
    differing = sorted({*train} ^ {*test})
    if differing:
        problem = f"train and test differ in their classes: {', '.join(differing)}"
        raise UsageError("folder", root, problem, "make a subfolder for every class in both")


def _pictures(folder: Path) -> list[Path]:
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in ENDINGS)
    if not found:
        problem = "holds no pictures"
        raise UsageError("folder", folder, problem, f"put some there, with one of {' '.join(sorted(ENDINGS))}")
    return found
