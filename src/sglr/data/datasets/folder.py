"""Pictures of your own: folder:PATH names a folder with one subfolder of pictures for each class."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from sglr.core.data import Dataset
from sglr.data.class_folders import SampleFile, find_files
from sglr.data.formats.files import resolve
from sglr.data.images.dataset import Pixels, check_form
from sglr.data.images.decode import PICTURES, OnBad, Picture, PictureReader
from sglr.data.images.decoded import picture_dataset
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
        found, reader = find_files(root, PICTURES, self.classes), PictureReader(self.image_size, self.on_bad)
        self._check_room(found.number)

        def read(part: list[SampleFile] | None, place: Path | None) -> Pixels | None:
            pictures = None if part is None else (Picture(each.name, each.file, each.label) for each in part)
            return None if pictures is None else reader.read(pictures, str(place), found.classes)

        train, validation, test = (read(part, place) for part, place in zip(found[:3], found.parts[:3], strict=True))
        assert train is not None, "there is always a training part"
        if test is None:
            train, test = map(train.select, stratified_split(train.labels, self.test_fraction, self.split_seed))
        name, parts = f"folder:{self.path}", (train, validation, test)
        return picture_dataset(name, parts, found.classes, reader, stated, self.image_channels, found.notes)

    def _check_room(self, count: int) -> None:
        """Raise UsageError, before any picture is read, if the resized pictures don't fit into memory."""
        size = self.image_size or 0
        needed = count * (self.image_channels or 1) * size**2 * BYTES_OF_PIXEL
        what = f"{count} pictures of {size} x {size} pixels"
        refuse_beyond_memory(needed, "image_size", size, what, "give a smaller size")
