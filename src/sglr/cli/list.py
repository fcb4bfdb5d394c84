"""``sglr list``: the parts there are to choose from."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Annotated, Any

import typer

from sglr.cli.options import AsJson, Debug
from sglr.cli.settings import Setting, parameters
from sglr.core.registry import DATASETS, ENGINES, METHODS, MODELS, PARTITIONERS, Registry


class Kind(StrEnum):
    """The kinds of parts."""

    methods = "methods"
    models = "models"
    datasets = "datasets"
    partitioners = "partitioners"
    engines = "engines"


REGISTRIES = {
    Kind.methods: METHODS,
    Kind.models: MODELS,
    Kind.datasets: DATASETS,
    Kind.partitioners: PARTITIONERS,
    Kind.engines: ENGINES,
}


def list_parts(
    kind: Annotated[Kind, typer.Argument(metavar="KIND", help=f"What to list: {', '.join(Kind)}.")],
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", metavar="", help="List parameters too, with their defaults.")
    ] = False,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """List methods, models, data sets, partitioners or engines, with one line about each."""
    del debug
    registry = REGISTRIES[kind]
    parts = [_describe(registry, name, verbose) for name in registry.names()]
    if as_json:
        print(json.dumps(parts, indent=2))
    else:
        _print(parts)


def _describe(registry: Registry, name: str, verbose: bool) -> dict[str, Any]:
    part: dict[str, Any] = {"name": name, "summary": registry.summary(name)}
    if verbose:
        part["parameters"] = [_entry(setting) for setting in parameters(registry.load(name))]
    return part


def _entry(setting: Setting) -> dict[str, Any]:
    return {"name": setting.name, "flag": setting.flag, "default": setting.default, "help": setting.about}


def _print(parts: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold cyan", no_wrap=True)
    table.add_column()
    for part in parts:
        table.add_row(part["name"], Text(part["summary"]))
        for entry in part.get("parameters", ()):
            default = "" if entry["default"] in (None, "", ()) else f"; default: {entry['default']}"
            table.add_row("", Text.assemble((entry["flag"], "cyan"), f"  {entry['help']}{default}"))
    Console(highlight=False).print(table)
