"""Find the column of classes and the column of pictures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sglr.core.errors import UsageError, unknown

LABELS = ("label", "labels", "target", "class", "fine_label")


def label_columns(wanted: str, columns: Iterable[str]) -> tuple[str, ...]:
    """Return the columns that a text names: itself if there is such a column, else the names between its commas."""
    if wanted in columns:
        return (wanted,)
    names = tuple(filter(None, (name.strip() for name in wanted.split(","))))
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UsageError("label_column", wanted, f"names {twice!r} twice", "name each column once")
    return names or (wanted,)


def find_label_column(columns: Sequence[str], wanted: str, source: str, field: str = "label_column") -> str:
    """Return the column of classes: the given one, else one with a usual name.

    Raises
    ------
    UsageError
        If there is none; the message names the setting ``field``.
    """
    if wanted:
        if wanted not in columns:
            raise unknown(field, wanted, columns)
        return wanted
    found = [column for column in LABELS if column in columns]
    if not found:
        problem = f"{source} has none of the columns {', '.join(LABELS)}"
        raise UsageError(field, "(none)", problem, f"name one of {', '.join(columns)}")
    return found[0]


def find_picture_column(features: Mapping[str, Any], wanted: str, source: str) -> str:
    """Return the column of pictures: the given one, else the only one; empty if there is none.

    Raises
    ------
    UsageError
        If the given one does not exist, or there are several.
    """
    found = [column for column, kind in features.items() if type(kind).__name__ == "Image"]
    if wanted and wanted not in found:
        raise unknown("image_column", wanted, found)
    if len(found) > 1 and not wanted:
        problem = f"{source} has several columns of pictures"
        raise UsageError("image_column", "(none)", problem, f"name one of {', '.join(found)}")
    return wanted or (found[0] if found else "")
