"""Pictures of your own: folder:PATH names a folder with one subfolder of pictures for each class."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from sglr.core.data import Dataset
from sglr.data.class_folders import Files, find_files
from sglr.data.file_samples import OnBad
from sglr.data.formats.files import resolve
from sglr.data.images.dataset import Pixels, check_form
from sglr.data.images.decode import PICTURES, Picture, PictureReader
from sglr.data.images.decoded import picture_dataset
from sglr.data.images.new_pictures import new_pictures
from sglr.data.images.pixel_range import PIXEL_RANGE, stated_range
from sglr.data.images.stored import PictureFiles, scan, stored_dataset
from sglr.data.new_files import new_files
from sglr.data.new_samples import NewSamples, TrainedOn
from sglr.data.split import stratified_split
from sglr.data.stored import SAMPLE_STORE, Store, stays_on_disk
from sglr.system.machine import refuse_beyond_memory

__all__ = ["Folder"]

COLOURS = 3  # where it is not known before pictures are read

P = TypeVar("P", Pixels, PictureFiles)

BYTES_OF_PIXEL = 5
"""The decoded byte and the float32 made of it."""


AT_ONCE = 8
"""Pictures that are in memory together at least, where the others stay on disk: a batch."""


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
    pixel_range: tuple[float, ...] | None = field(default=None, metadata=PIXEL_RANGE)
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
    sample_store: Store = field(default="auto", metadata=SAMPLE_STORE)

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
        described = (f"folder:{self.path}", found.classes, reader, stated, self.image_channels, found.notes)
        if stays_on_disk(self.sample_store, self._bytes(found.number, self.image_channels or COLOURS)):
            self._check_room(min(found.number, AT_ONCE))
            files = self._parts(found, lambda pictures, place: scan(reader, pictures, place, found.classes))
            return stored_dataset(described[0], files, *described[1:])
        self._check_room(found.number)
        parts = self._parts(found, lambda pictures, place: reader.read(pictures, place, found.classes))
        return picture_dataset(described[0], parts, *described[1:])

    def read_new(self, trained: TrainedOn) -> NewSamples:
        """Read pictures by what they became in the training; they need no folders of classes.

        Raises
        ------
        UsageError
            If the network was not trained on pictures, there are none here, or one is unreadable.
        """
        new = new_files(resolve("folder", self.path, None), PICTURES, trained.targets.names)
        pictures = [Picture(file.name, file.file, file.label) for file in new.files]
        found = new_pictures(pictures, str(new.place), trained, labelled=new.labelled, on_bad=self.on_bad)
        return replace(found, notes=(*new.notes, *found.notes))

    def _parts(self, found: Files, read: Callable[[list[Picture], str], P]) -> tuple[P, P | None, P]:
        """Read the parts; divide the training part if there is none for testing."""
        read_parts = [
            None if part is None else read([Picture(each.name, each.file, each.label) for each in part], str(place))
            for part, place in zip(found[:3], found.parts[:3], strict=True)
        ]
        train, validation, test = read_parts
        assert train is not None, "there is always a training part"
        if test is None:
            train, test = map(train.select, stratified_split(train.labels, self.test_fraction, self.split_seed))
        return train, validation, test

    def _bytes(self, count: int, channels: int) -> int:
        return count * channels * (self.image_size or 0) ** 2 * BYTES_OF_PIXEL

    def _check_room(self, count: int) -> None:
        """Raise UsageError, before any picture is read, if so many resized pictures don't fit into memory."""
        size = self.image_size or 0
        needed = self._bytes(count, self.image_channels or 1)
        what = f"{count} pictures of {size} x {size} pixels"
        other = "" if count <= AT_ONCE else ", or --sample-store disk"
        refuse_beyond_memory(needed, "image_size", size, what, f"give a smaller size{other}")
