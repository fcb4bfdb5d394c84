"""Pictures that stay in their files: each is decoded when it is used, several at a time."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sglr.core.data import Dataset, Samples, StoredInputs
from sglr.core.errors import UsageError
from sglr.data.images.dataset import image_encoding, image_tensor
from sglr.data.images.decode import Picture, PictureReader, stacked
from sglr.data.images.pixel_range import PixelRange, choose_range, range_notes

LOOKED_AT = 256
"""Pictures whose values are looked at for notes."""


class PictureFiles(NamedTuple):
    """Pictures of one part of a data set, each decoded once to see that it can be, and none kept."""

    files: tuple[Path, ...]
    labels: NDArray[np.int64]
    source: str
    shape: tuple[int, int, int]
    """Height, width and channels of each once it is decoded."""
    extremes: NDArray[np.float64]
    """The least and the largest value of each, ``[N, 2]``."""
    names: tuple[str, ...]
    some: NDArray[Any]
    """Some of them, ``[n, height, width, channels]``."""

    def select(self, rows: NDArray[np.int64]) -> Self:
        """Return the pictures of these rows."""
        files, names = (tuple(each[row] for row in rows) for each in (self.files, self.names))
        return self._replace(files=files, names=names, labels=self.labels[rows], extremes=self.extremes[rows])


def scan(reader: PictureReader, pictures: Sequence[Picture], source: str, classes: Sequence[str]) -> PictureFiles:
    """Decode all pictures of a part, one after another; raises what `PictureReader.decoded` raises."""
    found: list[Picture] = []
    extremes: list[tuple[float, float]] = []
    kept: list[NDArray[Any]] = []
    channels = 1
    every = max(1, len(pictures) // LOOKED_AT)
    for number, (picture, array) in enumerate(reader.decoded(pictures, source, classes)):
        found.append(picture)
        extremes.append((float(array.min()), float(array.max())))
        channels = max(channels, array.shape[2])
        if number % every == 0:
            kept.append(array)
    if not found:
        raise UsageError("file", source, "has no pictures", "give data with pictures")
    some = stacked(kept)
    files = tuple(picture.file for picture in found if isinstance(picture.file, Path))
    names, labels = tuple(picture.name for picture in found), np.array([picture.label for picture in found])
    return PictureFiles(files, labels, source, (*some.shape[1:3], channels), np.array(extremes), names, some)


class StoredPictures(StoredInputs):
    """Pictures of one size, scaled to ±1.

    Parameters
    ----------
    files
        The pictures.
    size
        Height and width to resize each to; None if all have one size.
    shape
        Height, width and channels of a decoded picture.
    channels
        1 for grey, 3 for colour.
    pixel_range
        The stored values that become -1 and 1.
    """

    def __init__(
        self,
        files: Sequence[Path],
        size: tuple[int, int] | None,
        shape: tuple[int, int, int],
        channels: int,
        pixel_range: PixelRange,
    ) -> None:
        super().__init__((len(files), channels, *shape[:2]), torch.get_default_dtype(), finite=True)
        self._files, self._size, self._stored, self._range = tuple(files), size, shape, pixel_range

    def read(self, rows: NDArray[np.int64]) -> Tensor:
        """Return some pictures, decoded by as many threads as there are processors."""
        arrays = _decoders().map(self._decoded, rows.tolist())
        return image_tensor(np.stack(list(arrays)), None, self.shape[1], self._range).to(self.dtype)

    def select(self, rows: NDArray[np.int64]) -> StoredInputs:
        """Return some pictures, unread; another process is told of these files alone."""
        files = [self._files[row] for row in rows]
        return type(self)(files, self._size, self._stored, self.shape[1], self._range)

    def _decoded(self, row: int) -> NDArray[Any]:
        file = self._files[row]
        array = PictureReader(self._size).decode(Picture(file.name, file, 0), str(file.parent))
        assert array is not None, "what can't be read is an error"
        height, width, channels = self._stored
        if array.shape[:2] != (height, width) or array.shape[2] > channels:
            problem = f"is a picture of another kind than when the training began: {list(array.shape)}"
            raise UsageError("file", file, problem, f"put back the one of {[height, width, channels]}")
        return np.broadcast_to(array, self._stored)


@cache
def _decoders() -> ThreadPoolExecutor:
    """Return the threads that decode; Pillow lets others run while it does."""
    return ThreadPoolExecutor(os.cpu_count() or 1, "sglr decodes")


def stored_dataset(
    name: str,
    parts: tuple[PictureFiles, PictureFiles | None, PictureFiles],
    classes: Sequence[str],
    reader: PictureReader,
    stated: PixelRange | None,
    image_channels: int | None,
    notes: Iterable[str],
) -> Dataset:
    """Make a data set of pictures that stay in their files; parameters and errors are those of `picture_dataset`."""
    train, validation, test = parts
    found = choose_range(stated, train.extremes, reader.kinds, train.source)
    constant = np.flatnonzero(train.extremes[:, 0] == train.extremes[:, 1])
    told = [*reader.notes, *notes, *range_notes(found, train.some, train.names, constant)]
    channels = image_channels or max(part.shape[2] for part in parts if part is not None)

    def samples(part: PictureFiles) -> Samples:
        inputs = StoredPictures(part.files, reader.size, part.shape, channels, found)
        inputs.read(np.arange(min(1, len(part.files))))  # refuses channels that can't be made of these
        return Samples(inputs, torch.from_numpy(part.labels))

    encoding = image_encoding(channels, train.shape[:2], found)
    held = None if validation is None else samples(validation)
    return Dataset(name, samples(train), samples(test), tuple(classes), held, encoding, notes=tuple(told))
