"""The documents of the repository, and the commands that they show."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", ".github/pull_request_template.md")),
    *sorted(DOCS.rglob("*.md")),
]
BLOCK = re.compile(r"^ *(`{3,})([^\n]*)\n(.*?)^ *\1$", re.DOTALL | re.MULTILINE)

sys.path.insert(0, str(DOCS / "building"))


def place(path: Path) -> str:
    """Name a document in the name of a test."""
    return path.relative_to(ROOT).as_posix()


def shown_commands(text: str) -> list[list[str]]:
    """Every command of sglr in a document's blocks, without what a shell makes of it."""
    blocks = [body for _, language, body in BLOCK.findall(text) if language in ("", "sh", "text", "console")]
    lines = [line.strip().removeprefix("$ ") for body in blocks for line in body.replace("\\\n", " ").splitlines()]
    return [_words(line) for line in lines if line.startswith("sglr ")]


def _words(line: str) -> list[str]:
    words = shlex.split(line, comments=True)
    ends = [number for number, word in enumerate(words) if word in ("|", ">", "&", "&&")]
    return words[: min(ends, default=len(words))]
