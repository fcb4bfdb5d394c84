"""The reference of Python: every public name on the page of its subject, described by its docstring."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import sglr

FOLDER = "reference/python"
PUBLIC = Path(__file__).resolve().parents[2] / "tests/public_names.txt"

SUBJECTS = {
    "train": ("Train, compare, measure", ("experiment", "studies", "leakage")),
    "runs": ("Runs: predict, evaluate, export", ("assembly.load_model", "inference", "exporting")),
    "settings": ("Settings", ("runs", "report")),
    "methods": ("Methods", ("methods", "core.method", "core.server_protocol", "core.types", "core.split")),
    "tasks": ("Tasks", ("tasks", "core.task", "metrics")),
    "data": ("Data", ("data", "core.data")),
    "models": ("Models and cuts", ("splitting", "models", "core.model")),
    "errors": ("Errors", ("core.errors",)),
    "parts": ("For authors of parts", ("",)),
}
"""Pages: their title, and what the names of modules begin with; the first page that fits has the name."""


def pages() -> dict[str, str]:
    """Return the pages, and one that lists them, by their place in the site."""
    names = public_names()
    found = {subject: sorted(name for name in names if _subject(_home(name)) == subject) for subject in SUBJECTS}
    written = {f"{FOLDER}/index.md": "\n".join(_index(found))}
    return written | {
        f"{FOLDER}/{subject}.md": "\n".join(_page(subject, {name: names[name] for name in own}))
        for subject, own in found.items()
    }


def public_names() -> dict[str, list[str]]:
    """Return every public name that is no member of another, with its public members."""
    lines = PUBLIC.read_text(encoding="utf-8").splitlines()
    plain = [line for line in lines if "(" not in line and " is " not in line and line != "sglr.__version__"]
    names = [line for line in plain if line.rpartition(".")[0] not in plain]
    return {name: [line.rpartition(".")[2] for line in plain if line.rpartition(".")[0] == name] for name in names}


def _home(name: str) -> str:
    """Return the module that defines a name."""
    return sglr._HOME.get(name.removeprefix("sglr."), name.rpartition(".")[0])


def _subject(home: str) -> str:
    module = home.removeprefix("sglr.")
    return next(subject for subject, (_, starts) in SUBJECTS.items() if any(_below(module, start) for start in starts))


def _below(module: str, start: str) -> bool:
    return not start or module == start or module.startswith((f"{start}.", f"{start}_"))


def _index(pages: dict[str, list[str]]) -> Iterator[str]:
    yield "# Python\n\nThe public names, by subject. What `sglr` itself does not export is for authors of parts.\n"
    for subject, names in pages.items():
        listed = ", ".join(f"[`{_short(name)}`]({subject}.md#{name})" for name in names)
        yield f"- [{SUBJECTS[subject][0]}]({subject}.md): {listed}"


def _short(name: str) -> str:
    return name.rpartition(".")[2]


def _page(subject: str, names: dict[str, list[str]]) -> Iterator[str]:
    yield f"# {SUBJECTS[subject][0]}\n"
    for name, members in names.items():
        shown = json.dumps(members or False)
        yield f"::: {name}\n    options:\n      members: {shown}\n      inherited_members: {shown}\n"
