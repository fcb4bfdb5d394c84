"""Words of a stranger, before they reach a log, a status or a terminal."""

from __future__ import annotations

from sglr.core.errors import printable

MOST_SHOWN = 300
"""Characters of a stranger's text that are shown."""


def shown(text: str, most: int = MOST_SHOWN) -> str:
    """Return ``text`` without line breaks and control characters, which a log or a terminal would obey, and cut."""
    kept = printable(text[:most], instead=" ")
    return kept if len(text) <= most else f"{kept}…"
