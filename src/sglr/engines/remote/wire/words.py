"""Words of a stranger, before they reach a log, a status or a terminal."""

from __future__ import annotations

MOST_SHOWN = 300
"""Characters of a stranger's text that are shown."""


def shown(text: str, most: int = MOST_SHOWN) -> str:
    """Return ``text`` without line breaks and control characters, which a log or a terminal would obey, and cut."""
    kept = "".join(character if character.isprintable() else " " for character in text[:most])
    return kept if len(text) <= most else f"{kept}…"
