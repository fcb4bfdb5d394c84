"""Make a data set of decoded pictures: choose one range of pixel values, and collect notes for the user."""

from __future__ import annotations

from collections.abc import Sequence

from sglr.core.data import Dataset
from sglr.core.errors import UsageError
from sglr.data.images.dataset import Pixels, image_dataset
from sglr.data.images.decode import PictureReader
from sglr.data.images.pixel_range import PixelRange, choose_range, range_notes


def picture_dataset(
    name: str,
    parts: tuple[Pixels, Pixels | None, Pixels],
    classes: Sequence[str],
    reader: PictureReader,
    stated: PixelRange | None = None,
    image_channels: int | None = None,
    notes: Sequence[str] = (),
) -> Dataset:
    """Make a data set of pictures.

    Parameters
    ----------
    name, classes
        See `Dataset`.
    parts
        The pictures for training, for validation (if any) and for testing.
    reader
        The reader that decoded them.
    stated
        The range of pixel values that the user gives.
    image_channels
        1 for grey, 3 for colour, or None for grey if all are.
    notes
        Further notes, besides those of the reader.

    Raises
    ------
    UsageError
        If no range fits the pictures, or all training pictures have one and the same value.
    """
    train, validation, test = parts
    if not len(train.values):
        raise UsageError("file", train.source, "has no pictures", "give data with pictures")
    found = choose_range(stated, train.values, reader.kinds, train.source)
    told = [*reader.notes, *notes, *range_notes(found, train.values, train.names)]
    channels = image_channels or max(part.values.shape[3] for part in parts if part is not None)
    return image_dataset(
        name, train, test, classes, None, channels, validation=validation, pixel_range=found, notes=told
    )
