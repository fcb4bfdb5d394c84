"""What a page shows: sections by name, each a value that JSON can hold, and what has changed between two looks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

Sections = dict[str, Any]
"""Sections of a page by their names. ``history`` is a list that grows; those in `KEYS` are lists of rows."""


class View(Protocol):
    """Something that a page shows."""

    seconds: float
    """How often it is looked at."""

    def read(self) -> Sections:
        """Return all sections as they are now."""
        ...


KEYS: Mapping[str, Any] = {"clients": 0, "runs": "name"}
"""Sections that are lists of rows, and by what a row is known."""


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> Sections:
    """Return the sections that differ; of a history what was added, of rows those that differ."""
    found: Sections = {}
    for name, value in now.items():
        old = before.get(name)
        if value is old or value == old:
            continue
        if name == "history" and old and value[: len(old)] == old:
            found["history+"] = value[len(old) :]
        elif name in KEYS and old and _keys(name, old) == _keys(name, value):
            found[f"{name}+"] = [row for row, other in zip(value, old, strict=True) if row != other]
        else:
            found[name] = value
    return found


def _keys(name: str, rows: list[Any]) -> list[Any]:
    return [row[KEYS[name]] for row in rows]
