"""Fetch data sets of the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sglr.core.errors import UsageError
from sglr.data.images import Pixels


def fetch(repository: str, remedy: str, missing: str = "") -> Any:
    """Return the ``datasets.DatasetDict`` of a repository, or of a local folder of data files.

    Parameters
    ----------
    repository
        Its name on the hub, such as ``"ylecun/mnist"``, or a local path.
    remedy
        What the user can do where it cannot be fetched.
    missing
        What was looked for on this machine before, in words; leads the message.

    Raises
    ------
    UsageError
        If it cannot be fetched.
    """
    from datasets import load_dataset

    try:
        return load_dataset(repository)
    # The hub's client raises errors of many libraries, which change from version to version.
    except Exception as error:
        first_line = str(error).partition("\n")[0]
        tried = f"{missing}; " if missing else ""
        problem = f"{tried}fetching it from Hugging Face failed: {type(error).__name__}: {first_line}"
        raise UsageError("dataset", repository, problem, remedy) from error


def hub_pixels(split: Any, image_column: str, label_column: str, source: str) -> Pixels:
    """Decode the images of one split of a hub data set, all of the same size."""
    labels = np.asarray(split[label_column][:], dtype=np.int64)
    return Pixels(stack_images(split[image_column], source), labels, source)


def stack_images(images: Iterable[Any], source: str) -> NDArray[np.uint8]:
    """Return Pillow images as bytes ``[N, height, width, channels]``: grey if all are, else colour.

    Raises
    ------
    UsageError
        If they differ in size.
    """
    arrays = [_bytes(image) for image in images]
    channels = max((array.shape[2] for array in arrays), default=1)
    sizes = {array.shape[:2] for array in arrays}
    if len(sizes) > 1:
        (height, width), (other_height, other_width) = sorted(sizes)[:: len(sizes) - 1]
        problem = f"images differ in size, from {width} x {height} to {other_width} x {other_height}"
        raise UsageError("image_size", None, f"{source}: {problem}", "give the size to resize to, such as 32")
    if not arrays:
        return np.empty((0, 1, 1, 1), dtype=np.uint8)
    return np.stack([np.broadcast_to(array, (*array.shape[:2], channels)) for array in arrays])


def _bytes(image: Any) -> NDArray[np.uint8]:
    grey = image.mode in ("1", "L", "LA", "I", "I;16", "F")
    return np.atleast_3d(np.asarray(image.convert("L" if grey else "RGB"), dtype=np.uint8))
