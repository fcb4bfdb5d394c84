"""The reference of the command line, made of the commands themselves: a page for each, with what its help says."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from typing import Any

import typer.main

from sglr.cli.main import app
from sglr.cli.settings import SettingsCommand, settings

FOLDER = "reference/command-line"


def pages() -> dict[str, str]:
    """Return the pages, by their place in the site."""
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    rows = [f"| [`sglr {name}`]({name}.md) | {_first_line(command)} |" for name, command in commands.items()]
    index = ["# Command line", "", INTRODUCTION, "", "| command | what it does |", "|---|---|", *rows]
    written = {f"{FOLDER}/{name}.md": "\n".join(_page(name, command)) for name, command in commands.items()}
    return {f"{FOLDER}/index.md": "\n".join(index)} | written


INTRODUCTION = """`sglr COMMAND --help` shows the same in a terminal. Exit codes: 0 done, 2 bad usage or settings, 1
anything else. An error is one line on standard error; `--debug` adds where it arose. With `--json` standard output
holds JSON and nothing else. What can be typed for a setting is in [settings](../settings.md)."""


def _page(name: str, command: Any) -> Iterator[str]:
    context = command.context_class(command, info_name=f"sglr {name}")
    parameters = [param for param in command.get_params(context) if param.name != "help"]
    yield f"---\ntitle: sglr {name}\n---\n\n# `sglr {name}`\n\n{_prose(command.help or '')}\n"
    yield f"```text\nsglr {name} {' '.join(command.collect_usage_pieces(context))}\n```\n"
    yield from _examples(command)
    shown = [param for param in parameters if not param.hidden]
    yield from _table("Arguments", [param for param in shown if param.param_type_name == "argument"])
    options = [param for param in shown if param.param_type_name == "option"]
    for panel in dict.fromkeys(param.rich_help_panel or "Options" for param in options):
        yield from _table(panel, [param for param in options if (param.rich_help_panel or "Options") == panel])
    if isinstance(command, SettingsCommand):
        yield f"\nThese are the settings that people use; all {len(settings())} are flags: [settings](../settings.md)."


def _table(title: str, parameters: list[Any]) -> Iterator[str]:
    if parameters:
        kind = "argument" if title == "Arguments" else "option"
        yield f"\n## {title}\n\n| {kind} | what it is |\n|---|---|"
        yield from (f"| {_written(param)} | {cell(param.help or '')} |" for param in parameters)


def _written(param: Any) -> str:
    """Return how a parameter is typed: its flags, and what follows."""
    value = param.metavar or (param.human_readable_name if param.param_type_name == "argument" else "")
    names = [] if param.param_type_name == "argument" else [*param.opts, *param.secondary_opts]
    return " ".join(filter(None, [" · ".join(f"`{name}`" for name in names), value and code(value)]))


def code(text: str) -> str:
    """Return text as code in a cell of a table, where a bar within backticks would end the cell."""
    return f"<code>{html.escape(text).replace('|', '&#124;')}</code>"


def _examples(command: Any) -> Iterator[str]:
    found = re.findall(r"\$ (.*)", command.epilog or "")
    if found:
        yield "```sh\n" + "\n".join(line.strip() for line in found) + "\n```\n"


def _first_line(command: Any) -> str:
    return cell((command.help or "").strip().partition("\n\n")[0].replace("\n", " "))


def _prose(text: str) -> str:
    return cell(text).replace(r"\|", "|")


def cell(text: str) -> str:
    """Return a help text as Markdown of a table's cell; square brackets are escaped there for rich."""
    text = re.sub(r"\[/?(?:bold|italic|dim)\]", "", text.replace(r"\[", "["))
    return re.sub(r"([|<>*_\[\]])", r"\\\1", text)
