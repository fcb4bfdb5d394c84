"""Turn pixels into a data set of images: check, resize, scale to [-1, 1]."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from sglr.core.data import Dataset, Samples
from sglr.core.errors import UsageError

CHUNK = 4096  # images resized at a time, to bound the memory in use
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601: the weights with which Pillow makes grey of red, green, blue


class Pixels(NamedTuple):
    """Images as they are stored, with the file or place that they come from for messages."""

    values: NDArray[np.uint8]  # [N, height, width, channels]
    labels: NDArray[np.int64]  # [N]
    source: str


def image_dataset(
    name: str,
    train: Pixels,
    test: Pixels,
    classes: Sequence[str],
    image_size: int | None = None,
    image_channels: int | None = None,
    validation: int | None = None,
) -> Dataset:
    """Make a data set of stored images.

    Parameters
    ----------
    name, classes, validation
        See `Dataset`.
    train, test
        The images with their labels.
    image_size
        Height and width in pixels after bilinear resizing, or None to keep the stored size.
    image_channels
        1 for grey, 3 for colour, or None to keep what is stored.

    Raises
    ------
    UsageError
        If there are no images, a label is no class, or the size or channels asked for make no sense.
    """
    if image_size is not None and image_size < 1:
        raise UsageError("image_size", image_size, "no image can be so small", "give 1 or more pixels, such as 32")
    if image_channels not in (None, 1, 3):
        raise UsageError("image_channels", image_channels, "not a kind of image", "give 1 for grey or 3 for colour")
    for part in (train, test):
        _check(part, len(classes))
    own, held = (
        Samples(image_tensor(part.values, image_size, image_channels), torch.from_numpy(part.labels))
        for part in (train, test)
    )
    return Dataset(name, own, held, tuple(classes), validation)


def image_tensor(values: NDArray[np.uint8], size: int | None = None, channels: int | None = None) -> Tensor:
    """Return bytes ``[N, height, width, channels]`` as float32 ``[N, channels, height, width]`` in ±1."""
    count, height, width, stored = values.shape
    shape = (height, width) if size is None else (size, size)
    inputs = torch.empty(count, channels or stored, *shape)
    for start in range(0, count, CHUNK):
        rows = slice(start, start + CHUNK)
        images = torch.tensor(values[rows]).permute(0, 3, 1, 2).float() / 127.5 - 1
        if shape != (height, width):
            # Enlarging needs no low-pass filter, and is several times faster without.
            images = interpolate(images, shape, mode="bilinear", antialias=min(shape) < max(height, width))
        inputs[rows] = with_channels(images, channels)
    return inputs


def with_channels(images: Tensor, channels: int | None) -> Tensor:
    """Return images ``[N, channels, height, width]`` with so many channels: grey repeated, colour as luma."""
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
    values, labels, source = pixels
    if len(values) != len(labels):
        problem = f"{len(values)} images but {len(labels)} labels"
        raise UsageError("file", source, problem, "download the files again, all from one place")
    if not len(values):
        raise UsageError("file", source, "holds no images", "give files that hold some")
    low, high = labels.min(), labels.max()
    if low < 0 or high >= classes:
        problem = f"has label {high if high >= classes else low}, outside the classes 0 to {classes - 1}"
        raise UsageError("file", source, problem, "download the file again, or check which data set it belongs to")
