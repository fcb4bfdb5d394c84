"""Fill in the navigation: a folder stands for the pages that are made in it. A page that is missing is an error."""

from __future__ import annotations

from typing import Any


def filled(entries: list[Any], places: list[str]) -> list[Any]:
    """Return the entries of the navigation, with the pages of each folder in the place of its name."""
    return [_filled(entry, places) for entry in entries]


def _filled(entry: Any, places: list[str]) -> Any:
    if isinstance(entry, dict):
        return {title: _value(value, places) for title, value in entry.items()}
    return _value(entry, places)


def _value(value: Any, places: list[str]) -> Any:
    if isinstance(value, list):
        return filled(value, places)
    if value.endswith("/"):
        return sorted(_pages_in(value, places), key=lambda place: not place.endswith("index.md"))
    if value not in places:
        raise SystemExit(f"{value} is in the navigation of docs/building/site.toml, but there is no such page")
    return value


def _pages_in(folder: str, places: list[str]) -> list[str]:
    return [place for place in places if place.startswith(folder)]
