"""The site: built strictly, whole by itself; all pages are in the navigation, all public names in the reference."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer.main

from sglr.cli.main import app

from .conftest import DOCS, ROOT

Capture = pytest.CaptureFixture[str]
SETTINGS = tomllib.loads((DOCS / "building/site.toml").read_text(encoding="utf-8"))["project"]


def _places(entries: list[Any]) -> list[str]:
    """Return the pages that a navigation names."""
    found = []
    for entry in entries:
        value = next(iter(entry.values())) if isinstance(entry, dict) else entry
        found += _places(value) if isinstance(value, list) else [value]
    return found


def test_every_page_is_in_the_navigation() -> None:
    pages = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}
    missing = pages - set(_places(SETTINGS["nav"]))
    assert not missing, f"give each a line in docs/building/site.toml: {sorted(missing)}"


def test_a_page_that_is_missing_ends_the_build() -> None:
    import navigation

    assert navigation.filled([{"A": [{"B": "in/"}]}, "c.md"], ["c.md", "in/a.md", "in/index.md"]) == [
        {"A": [{"B": ["in/index.md", "in/a.md"]}]},
        "c.md",
    ]
    with pytest.raises(SystemExit, match=r"^none\.md is in the navigation"):
        navigation.filled([{"A": ["none.md"]}], ["c.md"])


def test_building_tells_how_it_is_called() -> None:
    done = _building("--help")
    assert done.returncode == 0 and "folder" in done.stdout
    assert not (ROOT / "--help").exists()


def _building(*words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, DOCS / "building", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("words", "told"),
    [([], "required: folder"), (["--out", "x"], "unrecognized arguments: --out"), (["a", "b"], "unrecognized")],
)
def test_building_refuses_what_it_does_not_know(words: list[str], told: str, capsys: Capture) -> None:
    _refused(words, told, capsys)


def test_building_removes_no_other_files(tmp_path: Path, capsys: Capture) -> None:
    import arguments

    own = tmp_path / "thesis.tex"
    own.write_text("my only copy", encoding="utf-8")
    _refused([str(tmp_path)], "holds other files", capsys)
    _refused([str(own)], "is a file", capsys)
    earlier = tmp_path / "site"
    earlier.mkdir()
    assert arguments.folder_of([str(earlier)]) == earlier, "an empty folder"
    (earlier / arguments.SETTINGS).touch()
    assert arguments.folder_of([str(earlier)]) == earlier, "that of an earlier build"


def _refused(words: list[str], told: str, capsys: Capture) -> None:
    import arguments

    with pytest.raises(SystemExit) as ended:
        arguments.folder_of(words)
    assert ended.value.code == 2 and told in capsys.readouterr().err


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the site as `make docs` does."""
    folder = tmp_path_factory.mktemp("docs") / "site"
    done = _building(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "arning" not in done.stdout + done.stderr
    return folder / "site"


@pytest.mark.slow
def test_the_site_is_whole(site: Path) -> None:
    pages = {path.relative_to(site).as_posix(): path.read_text(encoding="utf-8") for path in site.rglob("*.html")}
    loaded = [
        address
        for text in pages.values()
        for tag in re.findall(r"<(?:script|link|img|iframe)\b[^>]*>", text)
        for address in re.findall(r"(?:src|href)=\"?(https?:[^\"\s>]+)", tag)
        if 'rel="canonical"' not in tag
    ]
    assert loaded == [], "the site is to need nothing from elsewhere"
    assert pages["methods/sglr.html"].count("<math") >= 8
    assert not [place for place, text in pages.items() if "$$" in re.sub("<code.*?</code>", "", text, flags=re.DOTALL)]
    _check_reference(pages)
    _check_links(pages, site)


def _check_reference(pages: dict[str, str]) -> None:
    """Every command has a page with all its visible flags; every public name has an anchor."""
    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        page = pages[f"reference/command-line/{name}.html"]
        params = command.get_params(command.context_class(command))
        flags = {param.opts[0] for param in params if param.param_type_name == "option" and not param.hidden}
        assert {flag for flag in flags - {"--help"} if f">{flag}<" not in page} == set(), name
    lines = (ROOT / "tests/public_names.txt").read_text(encoding="utf-8").splitlines()
    names = {line for line in lines if "(" not in line and " is " not in line} - {"sglr.__version__"}
    anchors = {
        anchor
        for place, text in pages.items()
        if place.startswith("reference/python/")
        for anchor in re.findall(r'id="?([\w.]+)', text)
    }
    assert sorted(names - anchors) == []


def _check_links(pages: dict[str, str], site: Path) -> None:
    """Every link within the site leads to a file of it, and to an anchor that is there."""
    wrong = []
    for place, text in pages.items():
        if place == "404.html":
            continue
        for link in re.findall(r"<a\b[^>]*?href=\"?([^\"\s>]+)", text):
            address, _, anchor = link.partition("#")
            if ":" in address:
                continue
            target = (site / place).parent / address if address else site / place
            target = target / "index.html" if target.is_dir() else target
            known = target.is_file() and target.resolve().relative_to(site.resolve()).as_posix()
            if not known or (
                anchor and known in pages and not re.search(f'id="?{re.escape(anchor)}["\\s>]', pages[known])
            ):
                wrong.append(f"{place}: {link}")
    assert sorted(set(wrong)) == []
