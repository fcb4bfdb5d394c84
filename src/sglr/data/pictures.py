"""Decode pictures with Pillow into bytes of one common size."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sglr.core.errors import UsageError


def read_picture(path: Path) -> Any:
    """Return the decoded Pillow image in the file ``path``.

    Raises
    ------
    UsageError
        If it is damaged or no picture.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            image.load()
            return image
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        problem = f"cannot be read as a picture ({type(error).__name__})"
        raise UsageError("file", path, problem, "replace or remove it") from error


def stack_pictures(images: Iterable[Any], source: str, size: int | None = None) -> NDArray[np.uint8]:
    """Return Pillow images as bytes ``[N, height, width, channels]``: grey if all are, else colour.

    Parameters
    ----------
    images
        The images; they are looked at one by one.
    source
        Where they come from, for messages.
    size
        Resize each to so many pixels squared, or None if all have the same size.

    Raises
    ------
    UsageError
        If they differ in size and no size is given.
    """
    arrays = [_bytes(image, size) for image in images]
    sizes = sorted({array.shape[:2] for array in arrays})
    if len(sizes) > 1:
        (height, width), (other_height, other_width) = sizes[0], sizes[-1]
        problem = f"pictures in {source} differ in size, from {height} x {width} to {other_height} x {other_width}"
        raise UsageError("image_size", size, problem, "give the size to resize them to, such as 32")
    if not arrays:
        return np.empty((0, 1, 1, 1), dtype=np.uint8)
    channels = max(array.shape[2] for array in arrays)
    return np.stack([np.broadcast_to(array, (*array.shape[:2], channels)) for array in arrays])


def _bytes(image: Any, size: int | None) -> NDArray[np.uint8]:
    from PIL import Image

    if image.mode.startswith("I"):
        # Pillow would clip 16-bit grey to 255 instead of scaling it.
        image = Image.fromarray((np.asarray(image) >> 8).clip(0, 255).astype(np.uint8))
    image = image.convert("L" if image.mode in ("1", "L", "LA", "F") else "RGB")
    if size is not None:
        image = image.resize((size, size), Image.Resampling.BILINEAR)
    return np.atleast_3d(np.asarray(image, dtype=np.uint8))
