"""Names of the places where a transformer can be cut: behind its embedding and behind each block."""

from __future__ import annotations

import re
from collections.abc import Sequence

from sglr.core.errors import UsageError

EMBEDDINGS = "embeddings"
"""The place behind the embedding."""

_BLOCK = re.compile(r"(?:[\w.]*\.)?(?:layers?|h|blocks?)\.(\d+)")


def place_name(blocks: int) -> str:
    """Return the name of the place behind so many blocks."""
    return f"layer.{blocks - 1}" if blocks else EMBEDDINGS


def blocks_before(at: int | str, points: Sequence[str], total: int) -> int:
    """Return how many of a model's blocks are before a place.

    Parameters
    ----------
    at
        The place: ``"embeddings"``; ``"layer.2"``, for which ``"layers.2"``, ``"h.2"`` and the module's own name, such
        as ``"bert.encoder.layer.2"``, may stand; or the number of blocks, negative as in slices.
    points
        The places that there are.
    total
        How many blocks the model has.

    Raises
    ------
    UsageError
        If there is no such place.
    """
    if isinstance(at, int):
        number = at + total if at < 0 else at
    elif at == EMBEDDINGS:
        number = 0
    else:
        found = _BLOCK.fullmatch(at)
        number = -1 if found is None else 1 + int(found[1])
    if number < 0 or place_name(number) not in points:
        problem = f"the model can't be cut there; it has {total} blocks"
        raise UsageError("cut", at, problem, f"give one of: {', '.join(points)}")
    return number
