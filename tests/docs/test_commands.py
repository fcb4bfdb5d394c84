"""Every command of sglr that a document shows is one that the command line understands."""

from __future__ import annotations

import itertools
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer.main

from sglr.cli.main import app
from sglr.core.registry import DATASETS, ENGINES, METHODS, MODELS, PARTITIONERS, TASKS

from .conftest import BLOCK, DOCUMENTS, ROOT, place, shown_commands

COMMANDS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
PARTS = {
    "--method": METHODS,
    "--model": MODELS,
    "--dataset": DATASETS,
    "--partition": PARTITIONERS,
    "--engine": ENGINES,
    "--task": TASKS,
}
OLD = {"CHANGELOG.md"}
"""Documents that tell of commands as they were."""

PAGES = [document for document in DOCUMENTS if place(document) not in OLD]


@pytest.mark.parametrize("document", PAGES, ids=place)
def test_commands_in_blocks_are_understood(document: Path) -> None:
    for words in shown_commands(document.read_text(encoding="utf-8")):
        if words[1].startswith("-"):
            assert words[1] in ("--help", "--version", "--install-completion")
            continue
        if "blend" in words:
            continue  # the method that CONTRIBUTING adds; tests/test_contributing.py uses its flag
        COMMANDS[words[1]].make_context(f"sglr {words[1]}", words[2:])  # raises where a flag or a value is unknown
        for flag, value in itertools.pairwise(words):
            if flag in PARTS and not re.search("[:./]", value):
                assert value in (*PARTS[flag].names(), "sites", "auto"), (flag, value)


@pytest.mark.parametrize("document", PAGES, ids=place)
def test_commands_within_lines_have_flags_that_exist(document: Path) -> None:
    """Of a command within a line parts may be left out, so it is not parsed as a whole."""
    text = BLOCK.sub("", document.read_text(encoding="utf-8"))
    for shown in re.findall(r"`sglr ([a-z][^`]*)`", text):
        name, *words = shlex.split(shown.replace("\n", " "))
        assert name in (*COMMANDS, "COMMAND"), shown
        flags = {word.partition("=")[0] for word in words if re.match("--?[a-z]", word)}
        if name in COMMANDS:
            assert flags <= _flags(COMMANDS[name]), shown


def _flags(command: Any) -> set[str]:
    context = command.context_class(command)
    return {flag for param in command.get_params(context) for flag in (*param.opts, *param.secondary_opts)} | {"-h"}


def test_the_test_finds_commands() -> None:
    assert sum(len(shown_commands(path.read_text(encoding="utf-8"))) for path in PAGES) > 100
    assert shown_commands("```sh\nsglr train \\\n  --lr 1 > x\n```\n") == [["sglr", "train", "--lr", "1"]]
    assert ROOT / "README.md" in PAGES
