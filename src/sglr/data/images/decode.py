"""Decode pictures with Pillow into arrays of one common size, and note what the user should know."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sglr.core.errors import UsageError, listed
from sglr.data.class_folders import FileKind
from sglr.data.file_samples import OnBad
from sglr.data.images.dataset import Pixels

SHOWN = 3  # names in a note

PICTURES = FileKind(
    "pictures",
    (
        *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".jp2", ".bmp", ".gif", ".webp", ".avif", ".tga"),
        *(".tif", ".tiff", ".pbm", ".pgm", ".pnm", ".ppm"),
    ),
)
"""Files of pictures."""


class Picture(NamedTuple):
    """A picture that is not yet decoded."""

    name: str
    file: Path | bytes
    label: int


class PictureReader:
    """Reads all pictures of one data set, part by part, and collects notes for the user.

    Parameters
    ----------
    size
        Height and width to resize each picture to, in pixels; one number for both; None if all have the same size.
    on_bad
        Refuse a picture that can't be read, or skip it.
    """

    def __init__(self, size: int | tuple[int, int] | None = None, on_bad: OnBad = "error") -> None:
        self.size, self.on_bad = (size, size) if isinstance(size, int) else size, on_bad
        self.kinds: dict[str, str] = {}
        """The kinds of pixel values found, each with the name of the first such picture."""
        self._sizes: dict[tuple[int, int], str] = {}
        self._seen = 0
        self._skipped: list[str] = []
        self._paged: list[str] = []
        self._transparent: list[str] = []

    def read(self, pictures: Iterable[Picture], source: str, classes: Sequence[str]) -> Pixels:
        """Return the pictures of one part: grey if all are, else colour.

        Values are bytes ``[N, height, width, channels]`` where all pictures have 8 bits, else float32.

        Parameters
        ----------
        pictures
            The pictures; they are read one by one.
        source
            Where they come from, for messages.
        classes
            The names of the classes.

        Raises
        ------
        UsageError
            If a picture can't be read and ``on_bad`` is not "skip", all of a class are skipped, or pictures differ in
            size and no size is given.
        """
        found = list(self.decoded(pictures, source, classes))
        labels = np.array([picture.label for picture, _ in found], dtype=np.int64)
        values = stacked([array for _, array in found])
        return Pixels(values, labels, source, tuple(picture.name for picture, _ in found))

    def decoded(
        self, pictures: Iterable[Picture], source: str, classes: Sequence[str]
    ) -> Iterator[tuple[Picture, NDArray[Any]]]:
        """Yield each picture with its values ``[height, width, channels]``; as `read`."""
        wanted: Counter[int] = Counter()
        found: set[int] = set()
        with warnings.catch_warnings():
            # Pillow warns about damaged metadata and large pictures, but reads both.
            warnings.simplefilter("ignore")
            for picture in pictures:
                wanted[picture.label] += 1
                array = self.decode(picture, source)
                if array is not None:
                    found.add(picture.label)
                    yield picture, array
        self._check_classes(wanted, found, classes)
        self._check_sizes(source)

    @property
    def notes(self) -> list[str]:
        """What the user should know about the pictures, a sentence each."""
        notes = []
        if self._skipped:
            count = f"{len(self._skipped)} of {self._seen} pictures can't be read and were skipped"
            notes.append(f"{count}: {listed(self._skipped, SHOWN)}")
        if self._paged:
            notes.append(f"only the first page or frame is read of: {listed(self._paged, SHOWN)}")
        if self._transparent:
            notes.append(f"transparency is ignored in {listed(self._transparent, SHOWN)}")
        return notes

    def decode(self, picture: Picture, source: str) -> NDArray[Any] | None:
        """Return a picture's values ``[height, width, channels]``, resized; None for one that is skipped.

        Raises
        ------
        UsageError
            If it can't be read, and is not to be skipped.
        """
        self._seen += 1
        try:
            image = self._open(picture)
            array = _array(image)
            self.kinds.setdefault(_kind(image), picture.name)
        # Decoders raise many kinds of errors for damaged files.
        except Exception as error:
            if self.on_bad == "skip":
                self._skipped.append(f"{picture.name} ({_reason(error)})")
                return None
            problem = f"cannot be read as a picture ({_reason(error)})"
            remedy = "replace or remove it, or give --on-bad skip"
            raise UsageError("file", f"{source}/{picture.name}", problem, remedy) from error
        array = array if self.size is None else _resized(array, self.size)
        self._sizes.setdefault((array.shape[0], array.shape[1]), picture.name)
        return array

    def _open(self, picture: Picture) -> Any:
        """Return the first frame of a picture as a Pillow image, rotated as its EXIF data say."""
        from PIL import Image, ImageOps

        content = picture.file if isinstance(picture.file, bytes) else picture.file.read_bytes()
        if not content:
            raise ValueError("it is empty")
        with Image.open(BytesIO(content)) as image:
            # Phones store a preview as the second picture of an MPO file.
            if getattr(image, "is_animated", False) and image.format != "MPO":
                self._paged.append(picture.name)
            image.load()
            if image.has_transparency_data and np.asarray(image.convert("RGBA"))[..., 3].min() < 255:
                self._transparent.append(picture.name)
            return ImageOps.exif_transpose(image)

    def _check_classes(self, wanted: Counter[int], found: set[int], classes: Sequence[str]) -> None:
        for label in wanted.keys() - found:
            problem = f"none of the {wanted[label]} pictures of class {classes[label]} can be read"
            raise UsageError("on_bad", self.on_bad, problem, f"replace them, or remove the class: {self._skipped[-1]}")

    def _check_sizes(self, source: str) -> None:
        if len(self._sizes) > 1:
            found = sorted(self._sizes.items())
            smallest, largest = (f"{size[0]} x {size[1]} ({name})" for size, name in (found[0], found[-1]))
            problem = f"pictures in {source} differ in size, from {smallest} to {largest}"
            raise UsageError("image_size", self.size, problem, "give the size to resize them to, such as 32")


def _reason(error: Exception) -> str:
    from PIL import UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        return "damaged, or in a format that Pillow does not support"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error).partition("\n")[0].partition(", could be")[0] or type(error).__name__


def _kind(image: Any) -> str:
    return {"I": "whole numbers", "F": "fractions"}.get(image.mode[0], "8 bits")


def _array(image: Any) -> NDArray[Any]:
    """Return the values of a Pillow image of any mode as bytes or float32 ``[height, width, channels]``."""
    if _kind(image) == "8 bits":
        image = image.convert("L" if image.mode in ("1", "L", "LA", "La") else "RGB")
        return np.atleast_3d(np.asarray(image, dtype=np.uint8))
    values = np.asarray(image).astype(np.float32)
    if not np.isfinite(values).all():
        raise ValueError("it has pixel values that are not finite")
    return values[..., None]


def _resized(array: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    from PIL import Image

    image = Image.fromarray(array[..., 0] if array.shape[2] == 1 else array)
    return np.atleast_3d(np.asarray(image.resize(size[::-1], Image.Resampling.BILINEAR)))


def stacked(arrays: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Return pictures of one size as ``[N, height, width, channels]``: in colour, if one is."""
    if not arrays:
        return np.empty((0, 1, 1, 1), dtype=np.uint8)
    channels = max(array.shape[2] for array in arrays)
    return np.stack([np.broadcast_to(array, (*array.shape[:2], channels)) for array in arrays])
