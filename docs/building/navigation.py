"""Fill in the navigation: a folder stands for the pages that are made in it, and a page may still be missing."""

from __future__ import annotations

from typing import Any


def filled(entries: list[Any], places: list[str]) -> list[Any]:
    """Return the entries of the navigation as they are to be."""
    return [entry for item in entries for entry in _filled(item, places)]


def _filled(item: Any, places: list[str]) -> list[Any]:
    """Return an entry in a list; an empty one for a page that does not exist."""
    if isinstance(item, str):
        return [item] if item in places else []
    ((title, value),) = item.items()
    if isinstance(value, list):
        inner = filled(value, places)
        return [{title: inner}] if inner else []
    if value.endswith("/"):
        return [{title: sorted(_pages_in(value, places), key=lambda place: not place.endswith("index.md"))}]
    return [item] if value in places else []


def _pages_in(folder: str, places: list[str]) -> list[str]:
    return [place for place in places if place.startswith(folder)]
