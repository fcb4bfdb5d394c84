"""Values from files as a page may show them: nothing that a file holds can make it fail, or make it large."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sglr.core.errors import printable

MOST_TEXT = 300
"""Characters of a text that are shown."""


def number(value: object) -> float | int | None:
    """Return a finite number; None for anything else, and for one that is too large for a float."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    # NaN compares as False.
    return value if -1e300 < value < 1e300 else None


def text(value: object, most: int = MOST_TEXT) -> str:
    """Return a text without control characters, at most so long; empty for None."""
    found = "" if value is None else str(value)[: most + 1]
    shown = found if found.isprintable() else printable(found, instead=" ")
    return shown if len(shown) <= most else f"{shown[: most - 1]}…"


def mapping(value: object) -> Mapping[str, Any]:
    """Return a mapping; an empty one for anything else."""
    return value if isinstance(value, Mapping) else {}


def mappings(value: object, most: int) -> list[Mapping[str, Any]]:
    """Return the mappings in a list, at most so many; none for anything else."""
    return [one for one in value[:most] if isinstance(one, Mapping)] if isinstance(value, list) else []


def figures(record: Mapping[str, Any], most: int = 60) -> dict[str, float | int]:
    """Return the finite numbers of an epoch's record by name, rounded to what can be seen."""
    found = {text(name, 80): number(value) for name, value in list(record.items())[:most]}
    return {name: rounded(value) for name, value in found.items() if value is not None}


def rounded(value: float | int) -> float | int:
    """Round to six significant digits; whole numbers stay whole."""
    return value if isinstance(value, int) else float(f"{value:.6g}")
