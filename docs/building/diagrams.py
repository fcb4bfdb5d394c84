"""Diagrams in Mermaid's language become the drawings that `draw.py` made of them."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path, PurePosixPath

DRAWINGS = Path(__file__).resolve().parents[1] / "pictures/diagrams"
BLOCK = re.compile(r"^```mermaid\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def drawn(place: str, text: str) -> str:
    """Return a page that shows its diagrams' drawings."""

    def shown(block: re.Match[str]) -> str:
        name = name_of(block[1])
        if not (DRAWINGS / name).is_file():
            raise SystemExit(f"{place}: a diagram has changed; draw it again: python docs/building/draw.py")
        return f"![diagram]({os.path.relpath(f'pictures/diagrams/{name}', PurePosixPath(place).parent)})"

    return BLOCK.sub(shown, text)


def name_of(text: str) -> str:
    """Return the file name of a diagram's drawing."""
    return f"{hashlib.sha256(text.encode()).hexdigest()[:12]}.svg"
