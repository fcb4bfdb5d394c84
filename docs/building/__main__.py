"""Build the documentation site: ``python docs/building FOLDER`` lays out its pages there, of which Zensical makes it.

What is made from code is made here, and nothing here knows the generator of the site but the form of its settings.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import arguments
import command_line
import diagrams
import equations
import navigation
import parts
import python_names
import sources
import tomli_w

DOCS = Path(__file__).resolve().parents[1]
WORKER = "https://unpkg.com/iframe-worker/shim"
"""The script that lets the search of a page work that is opened from the disk."""


def pages() -> dict[str, str]:
    """Return every page of the site by its place: those of docs/ and those that are made of code."""
    written = {
        path.relative_to(DOCS).as_posix(): path.read_text(encoding="utf-8") for path in sorted(DOCS.rglob("*.md"))
    }
    written |= sources.own_pages()
    shown = sources.source_pages(written)
    written = {place: _converted(place, text) for place, text in written.items()}
    return written | command_line.pages() | parts.pages() | python_names.pages() | shown


def _converted(place: str, text: str) -> str:
    return equations.typeset(sources.relinked(place, diagrams.drawn(place, text)))


def lay_out(folder: Path) -> None:
    """Write pages, pictures and settings into a new folder."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(DOCS, folder / "docs", ignore=shutil.ignore_patterns("*.md", "building", "__pycache__"))
    found = pages()
    for place, text in found.items():
        path = folder / "docs" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    settings = tomllib.loads((DOCS / "building/site.toml").read_text(encoding="utf-8"))
    settings["project"]["nav"] = navigation.filled(settings["project"]["nav"], list(found))
    python = settings["project"]["plugins"]["mkdocstrings"]["handlers"]["python"]
    python["paths"] = [str(DOCS.parent / path) for path in python["paths"]]
    (folder / arguments.SETTINGS).write_text(tomli_w.dumps(settings), encoding="utf-8")


def build(folder: Path) -> None:
    """Build the site of the pages, and put what its search would load from elsewhere beside it."""
    subprocess.run([sys.executable, "-m", "zensical", "build", "--strict"], cwd=folder, check=True)
    site = folder / "site"
    shutil.copy(DOCS / "building/iframe-worker.js", site / "assets")
    for page in site.rglob("*.html"):
        here = os.path.relpath(site / "assets/iframe-worker.js", page.parent)
        page.write_text(page.read_text(encoding="utf-8").replace(WORKER, here), encoding="utf-8")


if __name__ == "__main__":
    target = arguments.folder_of(sys.argv[1:])
    lay_out(target)
    build(target)
