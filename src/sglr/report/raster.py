"""Two-dimensional arrays as pictures inside a page."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence

Pixels = Sequence[Sequence[float]]


def value_range(images: Sequence[Pixels]) -> tuple[float, float]:
    """Return what black and white stand for: 0 and 1 where all values are between them, else the least and greatest."""
    values = [value for image in images for row in image for value in row if math.isfinite(value)]
    low, high = min(values, default=0.0), max(values, default=1.0)
    return (0.0, 1.0) if low >= 0 and high <= 1 and high > 0.1 else (low, high)


def png_address(pixels: Pixels, low: float, high: float) -> str:
    """Return values ``[height, width]`` as a grey picture in a ``data:`` address; ``low`` is black, ``high`` white."""
    import numpy as np
    from PIL import Image

    values = np.nan_to_num(np.asarray(pixels, dtype=np.float64), nan=low, posinf=high, neginf=low)
    scaled = np.clip((values - low) / ((high - low) or 1.0), 0, 1) * 255
    buffer = io.BytesIO()
    Image.fromarray(scaled.round().astype(np.uint8)).save(buffer, format="PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
