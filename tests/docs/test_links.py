"""Every link of a document leads to a file and to a heading that are there, in the repository as on the site."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

from .conftest import BLOCK, DOCUMENTS, place

LINK = re.compile(r"(?:\]\(|srcset=\"|src=\")([^)\s\"]+)[)\"]")


@pytest.mark.parametrize("document", DOCUMENTS, ids=place)
def test_links_lead_somewhere(document: Path) -> None:
    assert [link for link in _links(document) if not _target(document, link).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=place)
def test_anchors_are_headings(document: Path) -> None:
    anchored = [link for link in _links(document) if "#" in link and _target(document, link).suffix == ".md"]
    wrong = [link for link in anchored if link.partition("#")[2] not in _headings(_target(document, link))]
    assert wrong == []


def _links(document: Path) -> list[str]:
    text = re.sub(r"`(?:[^`\n]|\n(?!\n))+`", "code", BLOCK.sub("", document.read_text(encoding="utf-8")))
    return [link for link in LINK.findall(text) if "://" not in link]


def _target(document: Path, link: str) -> Path:
    name = link.partition("#")[0]
    return document.parent / name if name else document


@cache
def _headings(document: Path) -> set[str]:
    """Anchors of a document's headings: where both that of code hosts and that of the site are the same."""
    text = BLOCK.sub("", document.read_text(encoding="utf-8"))
    titles = [re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title) for title in re.findall("^#+ (.+)$", text, re.MULTILINE)]
    plain = [re.sub(r"[^\w\s-]", "", title.lower()).strip() for title in titles]
    return {re.sub(r"\s", "-", title) for title in plain if title.isascii() and not re.search(r"\s\s|--", title)}
