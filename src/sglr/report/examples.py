"""Examples of a segmentation: a picture, its true mask and the predicted one, side by side."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sglr.report.palette import SERIES
from sglr.report.raster import png_address, value_range
from sglr.storage.json_files import read_object

EXAMPLES = "examples.json"

IGNORED = "#808080"
"""The colour of pixels that belong to no class, such as those that are ignored."""

EMPTY = "#10161d"
"""The colour of class 0, mostly the background."""


def read_examples(folder: Path) -> list[Mapping[str, Any]]:
    """Return the `Example` records of a run folder; none where it has none.

    Raises
    ------
    ValueError
        If the file is damaged.
    """
    return list((read_object(folder / EXAMPLES) or {}).get("examples", []))


def example_rows(examples: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return a picture, its mask and the prediction as addresses, and the share of pixels that agree."""
    return [
        {
            "picture": png_address(one["picture"], *value_range([one["picture"]])),
            "truth": mask_address(one["truth"]),
            "prediction": mask_address(one["prediction"]),
        }
        for one in examples
    ]


def mask_address(mask: Sequence[Sequence[int]]) -> str:
    """Return the classes of pixels ``[height, width]`` as a coloured picture in a ``data:`` address."""
    import numpy as np
    from PIL import Image

    classes = np.asarray(mask, dtype=np.int64)
    palette = np.array([_rgb(colour_of(one)) for one in range(len(SERIES) + 1)] + [_rgb(IGNORED)], dtype=np.uint8)
    place = np.where(classes > 0, (classes - 1) % len(SERIES) + 1, np.where(classes < 0, len(SERIES) + 1, 0))
    buffer = io.BytesIO()
    Image.fromarray(palette[place]).save(buffer, format="PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def colour_of(number: int) -> str:
    """Return the colour of a class in pictures, the same on light and on dark pages."""
    return EMPTY if number == 0 else SERIES[(number - 1) % len(SERIES)].dark


def _rgb(hexadecimal: str) -> tuple[int, int, int]:
    return int(hexadecimal[1:3], 16), int(hexadecimal[3:5], 16), int(hexadecimal[5:7], 16)
