"""Pictures of your own: folder:PATH names a folder with one subfolder of pictures for each class."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from sglr.core.data import Dataset
from sglr.core.errors import UsageError, listed
from sglr.data.classes import refuse_unknown
from sglr.data.formats.files import resolve
from sglr.data.images.dataset import Pixels, check_form
from sglr.data.images.decode import SHOWN, OnBad, PictureReader
from sglr.data.images.decoded import picture_dataset
from sglr.data.images.folder import PictureFiles, find_parts, subfolders
from sglr.data.images.pixel_range import stated_range
from sglr.data.split import stratified_split
from sglr.system.machine import refuse_beyond_memory

__all__ = ["Folder"]

BYTES_OF_PIXEL = 5
"""The decoded byte and the float32 made of it."""


@dataclass(frozen=True)
class Folder:
    """A folder of pictures, or a folder with subfolders ``train``, ``test`` and ``val`` (or similar) of pictures."""

    path: str = field(default="", metadata={"help": "the folder", "by_run": True})
    image_size: int | None = field(
        default=32,
        metadata={"help": "height and width to resize to, in pixels; none if all have one size", "clients": "take"},
    )
    image_channels: int | None = field(
        default=None,
        metadata={"help": "1 for grey, 3 for colour; default: colour unless all are grey", "clients": "take"},
    )
    pixel_range: tuple[float, ...] | None = field(
        default=None,
        metadata={
            "help": "lowest and highest pixel value, such as 0,4095; default: 0,255 for 8 bits, else measured",
            "clients": "take",
            "since": "0.2.0",
        },
    )
    on_bad: OnBad = field(
        default="error",
        metadata={"help": "what to do with unreadable pictures", "since": "0.2.0"},
    )
    classes: tuple[str, ...] = field(
        default=(), metadata={"help": "the classes in order; default: all that occur, sorted", "by_run": True}
    )
    test_fraction: float = field(
        default=0.2, metadata={"help": "fraction of the pictures held out for testing if there is no test folder"}
    )
    split_seed: int = field(default=0, metadata={"help": "seed for drawing the test pictures"})

    def load(self, data_dir: Path | None) -> Dataset:
        """Read the pictures and hold out test pictures.

        Raises
        ------
        UsageError
            If a folder is missing or empty, a picture is unreadable, or its class is not one of those given.
        """
        root = resolve("folder", self.path, data_dir)
        check_form(self.image_size, self.image_channels)
        stated = stated_range(self.pixel_range)
        parts = find_parts(root)
        classes = self._classes(parts.train)
        files, reader = PictureFiles(), PictureReader(self.image_size, self.on_bad)
        _check_parts(parts.train, parts.validation, parts.test, classes, given=bool(self.classes))

        listed_of = {part: files.of_part(part, classes) for part in parts[:3] if part is not None}
        self._check_room(sum(map(len, listed_of.values())))

        def read(part: Path | None) -> Pixels | None:
            return None if part is None else reader.read(listed_of[part], str(part), classes)

        train, validation, test = read(parts.train), read(parts.validation), read(parts.test)
        assert train is not None, "there is always a training part"
        if test is None:
            train, test = map(train.select, stratified_split(train.labels, self.test_fraction, self.split_seed))
        passed = (
            [f"{root} is divided into parts; other folders are ignored: {listed(parts.others, SHOWN)}"]
            if parts.others
            else []
        )
        return picture_dataset(
            f"folder:{self.path}",
            (train, validation, test),
            classes,
            reader,
            stated,
            self.image_channels,
            [*passed, *files.notes, *_alike(classes)],
        )

    def _check_room(self, count: int) -> None:
        """Raise UsageError, before any picture is read, if the resized pictures don't fit into memory."""
        size = self.image_size or 0
        needed = count * (self.image_channels or 1) * size**2 * BYTES_OF_PIXEL
        what = f"{count} pictures of {size} x {size} pixels"
        refuse_beyond_memory(needed, "image_size", size, what, "give a smaller size")

    def _classes(self, root: Path) -> list[str]:
        if not self.classes:
            return _found(root, least=2)
        refuse_unknown(_found(root, least=1), self.classes, str(root))
        return list(self.classes)


def _found(root: Path, least: int) -> list[str]:
    names = subfolders(root)
    if len(names) < least:
        needs = "training needs two or more classes" if least > 1 else "each class needs its own"
        problem = f"has {len(names)} subfolder(s), and {needs}"
        raise UsageError("folder", root, problem, "put the pictures of each class into a subfolder of its own")
    return names


def _check_parts(train: Path, validation: Path | None, test: Path | None, classes: list[str], *, given: bool) -> None:
    """Refuse parts with different classes; validation may lack some, and any part if classes are given."""
    for part in (validation, test):
        if part is None:
            continue
        differing = {*classes} ^ {*subfolders(part)}
        if given or part == validation:
            differing -= {*classes}
        if differing:
            raise _differing(sorted(differing), train, part, classes)


def _differing(names: list[str], train: Path, part: Path, classes: list[str]) -> UsageError:
    problem = f"{train.name} and {part.name} have different classes: {', '.join(names)}"
    pairs = [(one, name) for one in classes for name in names if one != name and one.lower() == name.lower()]
    if pairs:
        problem += f" ({pairs[0][0]} and {pairs[0][1]} differ in case only)"
        return UsageError("folder", part, problem, "give each class the same name in all parts")
    return UsageError("folder", part, problem, "make a subfolder for every class in both folders")


def _alike(classes: list[str]) -> list[str]:
    lower = Counter(name.lower() for name in classes)
    twice = sorted(name for name in classes if lower[name.lower()] > 1)
    return [f"classes differ in case only: {', '.join(twice)}"] if twice else []
