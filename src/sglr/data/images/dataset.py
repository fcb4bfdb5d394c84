"""Turn pixels into a data set of images: check, resize, scale to [-1, 1]."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from sglr.core.data import Dataset, Samples
from sglr.core.errors import UsageError
from sglr.data.images.pixel_range import EIGHT_BITS, PixelRange
from sglr.system.machine import refuse_beyond_memory

CHUNK = 4096  # images resized at a time, to bound memory
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601: the weights of red, green and blue with which Pillow converts to grey


class Pixels(NamedTuple):
    """Images as stored, with their source for messages."""

    values: NDArray[Any]  # [N, height, width, channels], bytes or float32
    labels: NDArray[np.int64]  # [N]
    source: str
    names: tuple[str, ...] = ()  # of the images, if each is a file

    def select(self, rows: NDArray[np.int64]) -> Self:
        """Return the images of these rows."""
        names = tuple(self.names[row] for row in rows) if self.names else ()
        return self._replace(values=self.values[rows], labels=self.labels[rows], names=names)


def image_dataset(
    name: str,
    train: Pixels,
    test: Pixels,
    classes: Sequence[str],
    image_size: int | None = None,
    image_channels: int | None = None,
    validation: int | Pixels | None = None,
    pixel_range: PixelRange = EIGHT_BITS,
    notes: Sequence[str] = (),
) -> Dataset:
    """Make a data set of stored images.

    Parameters
    ----------
    name, classes, notes
        See `Dataset`.
    train, test
        The images with their labels.
    validation
        The images for validation, or the number of training images that are usually held out, or None.
    image_size
        Height and width in pixels after bilinear resizing, or None to keep the stored size.
    image_channels
        1 for grey, 3 for colour, or None to keep the stored channels.
    pixel_range
        The stored values that become -1 and 1.

    Raises
    ------
    UsageError
        If there are no images, a label is not a class, or the size or channels are invalid.
    """
    check_form(image_size, image_channels)

    def samples(part: Pixels) -> Samples:
        _check(part, len(classes))
        inputs = image_tensor(part.values, image_size, image_channels, pixel_range)
        return Samples(inputs, torch.from_numpy(part.labels))

    own, held = samples(train), samples(test)
    apart = samples(validation) if isinstance(validation, Pixels) else validation
    channels, *size = own.inputs.shape[1:]
    encoding = image_encoding(channels, size, pixel_range)
    return Dataset(name, own, held, tuple(classes), apart, encoding, notes=tuple(notes))


def image_encoding(channels: int, size: Sequence[int], pixel_range: PixelRange) -> dict[str, Any]:
    """Return how pictures became inputs, as in `Dataset`."""
    return {
        "kind": "image",
        "channels": channels,
        "size": [*size],
        "range": [pixel_range.low, pixel_range.high],
        "measured": pixel_range.measured,
    }


def check_form(image_size: int | None, image_channels: int | None) -> None:
    """Raise UsageError if the size or the number of channels is invalid."""
    if image_size is not None and image_size < 1:
        raise UsageError("image_size", image_size, "too small for an image", "give 1 or more pixels, such as 32")
    if image_channels not in (None, 1, 3):
        raise UsageError(
            "image_channels", image_channels, "unsupported number of channels", "give 1 for grey or 3 for colour"
        )


def image_tensor(
    values: NDArray[Any],
    size: int | None = None,
    channels: int | None = None,
    pixel_range: PixelRange = EIGHT_BITS,
) -> Tensor:
    """Return stored values ``[N, height, width, channels]`` as float32 ``[N, channels, height, width]`` in ±1."""
    count, height, width, stored = values.shape
    shape = (height, width) if size is None else (size, size)
    refuse_beyond_memory(
        count * (channels or stored) * math.prod(shape) * 4,
        *("image_size", size, f"{count} images of {shape[0]} x {shape[1]} pixels", "give a smaller size"),
    )
    inputs = torch.empty(count, channels or stored, *shape)
    for start in range(0, count, CHUNK):
        rows = slice(start, start + CHUNK)
        images = _scaled(torch.tensor(values[rows]).permute(0, 3, 1, 2).float(), pixel_range)
        if shape != (height, width):
            # Enlarging needs no low-pass filter and is several times faster without it.
            images = interpolate(images, shape, mode="bilinear", antialias=min(shape) < max(height, width))
        inputs[rows] = with_channels(images, channels)
    return inputs


def _scaled(images: Tensor, pixel_range: PixelRange) -> Tensor:
    if pixel_range == EIGHT_BITS:
        return images / 127.5 - 1
    low, high = pixel_range.low, pixel_range.high
    # float32 would round away a narrow range far from 0.
    return ((images.double() - low) / (high - low) * 2 - 1).clamp_(-1, 1).float()


def with_channels(images: Tensor, channels: int | None) -> Tensor:
    """Return images ``[N, channels, height, width]`` with this many channels: grey is repeated, colour becomes luma."""
    stored = images.shape[1]
    if channels is None or channels == stored:
        return images
    if (stored, channels) == (1, 3):
        return images.expand(-1, 3, -1, -1)
    if (stored, channels) == (3, 1):
        return (images * torch.tensor(LUMA).view(1, 3, 1, 1)).sum(dim=1, keepdim=True)
    problem = f"cannot be made of images with {stored} channel(s)"
    raise UsageError("image_channels", channels, problem, "give 1 for grey or 3 for colour")


def _check(pixels: Pixels, classes: int) -> None:
    values, labels, source = pixels.values, pixels.labels, pixels.source
    if len(values) != len(labels):
        problem = f"{len(values)} images but {len(labels)} labels"
        raise UsageError("file", source, problem, "download the files again, all from one place")
    if not len(values):
        raise UsageError("file", source, "has no images", "give files with images")
    low, high = labels.min(), labels.max()
    if low < 0 or high >= classes:
        problem = f"has label {high if high >= classes else low}, outside the classes 0 to {classes - 1}"
        raise UsageError("file", source, problem, "download the file again, or check which data set it belongs to")
