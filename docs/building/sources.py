"""Links that leave docs/ lead to pages of the site: the files that they name, shown as they are.

The project has no public address that such links could lead to. So the site brings the files that its pages name, of
the same version as the pages.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath

from pygments.lexers import get_lexer_for_filename
from pygments.util import ClassNotFound

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
OWN_PAGES = {"CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
"""Documents beside docs/ that are pages of the site."""

LINK = re.compile(r"(?<=\]\()([^)\s#]+)(?=[)#])")
CODE = re.compile(r"^(`{3,}).*?^\1$|`(?:[^`\n]|\n(?!\n))+`", re.DOTALL | re.MULTILINE)
"""A block of code, or a piece within a line."""

LONGEST = 200_000
"""Bytes of a file that is shown."""


def own_pages() -> dict[str, str]:
    """Return the pages that are documents beside docs/."""
    return {page: (ROOT / name).read_text(encoding="utf-8") for name, page in OWN_PAGES.items()}


def source_pages(pages: Mapping[str, str]) -> dict[str, str]:
    """Return a page for each file and folder outside docs/ that a page links to, and for the files of these folders."""
    links = {path for place, text in pages.items() for path in _links(place, text)}
    outside = {path for path in links if path.exists() and not _is_page(path)}
    outside -= {ROOT / name for name in (*OWN_PAGES, "README.md")}
    outside |= {path for folder in outside if folder.is_dir() for path in _texts(folder)}
    return {_source_page(path): _folder_page(path) if path.is_dir() else _file_page(path) for path in sorted(outside)}


def relinked(place: str, text: str) -> str:
    """Return a page whose links lead to where the site has what they name."""

    def moved(link: re.Match[str]) -> str:
        target = _target(place, link[0])
        return os.path.relpath(_place(target), PurePosixPath(place).parent) if target else link[0]

    return outside_code(text, lambda prose: LINK.sub(moved, prose))


def outside_code(text: str, change: Callable[[str], str]) -> str:
    """Return a page with its prose changed and its code as it is."""
    parts, end = [], 0
    for code in CODE.finditer(text):
        parts += [change(text[end : code.start()]), code[0]]
        end = code.end()
    return "".join([*parts, change(text[end:])])


def _links(place: str, text: str) -> Iterator[Path]:
    for link in LINK.findall(CODE.sub("", text)):
        target = _target(place, link)
        if target:
            yield target


def _target(place: str, link: str) -> Path | None:
    """Return the file that a link of a page names; None for an address elsewhere."""
    if "://" in link or link.startswith("mailto:"):
        return None
    origin = {page: ROOT / name for name, page in OWN_PAGES.items()}.get(place, DOCS / place)
    return Path(os.path.normpath(origin.parent / link))


def _is_page(path: Path) -> bool:
    """Say whether a file is a page or a picture of the site."""
    return path.is_relative_to(DOCS) and not path.is_relative_to(DOCS / "building")


def _place(target: Path) -> str:
    """Return the page or file of the site that shows a file of the repository."""
    if _is_page(target):
        return target.relative_to(DOCS).as_posix()
    name = target.relative_to(ROOT).as_posix()
    return {**OWN_PAGES, "README.md": "index.md"}.get(name) or _source_page(target)


def _source_page(path: Path) -> str:
    """Return the place of a file's page; hidden folders would be left out of the site."""
    name = path.relative_to(ROOT).as_posix().removeprefix(".")
    return f"source/{name}{'/index' if path.is_dir() else ''}.md"


def _texts(folder: Path) -> Iterator[Path]:
    """Yield the files of a folder that can be shown."""
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.suffix not in (".pyc", ".npz", ".png") and path.stat().st_size < LONGEST:
            yield path


def _folder_page(folder: Path) -> str:
    names = [f"- [`{path.name}`]({path.name}.md)" for path in _texts(folder) if path.name != "__init__.py"]
    names += [f"- `{path.name}/`" for path in sorted(folder.iterdir()) if path.is_dir() and path.name[0] not in "._"]
    return "\n".join([_heading(folder), *names])


def _file_page(path: Path) -> str:
    text = path.read_text(encoding="utf-8")[:LONGEST]
    fence = "`" * (1 + max((len(run) for run in re.findall("`{3,}", text)), default=2))
    return f"{_heading(path)}\n{fence}{_language(path)}\n{text}\n{fence}\n"


def _heading(path: Path) -> str:
    return f"---\nsearch: {{exclude: true}}\ntitle: {path.name}\n---\n\n# `{path.relative_to(ROOT).as_posix()}`\n"


def _language(path: Path) -> str:
    try:
        return str(get_lexer_for_filename(path.name).aliases[0])
    except ClassNotFound:
        return "text"
