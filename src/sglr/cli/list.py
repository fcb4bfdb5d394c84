"""``sglr list``: the available parts."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Annotated, Any

import typer

from sglr.cli.options import AsJson, Debug
from sglr.cli.settings import Setting, experiment_settings, parameters
from sglr.core.registry import (
    ATTACKS,
    AUGMENTATIONS,
    DATASETS,
    DEFENCES,
    ENGINES,
    EXPORTERS,
    MERGE_RULES,
    METHODS,
    MODELS,
    NAMED_MODELS,
    PARTITIONERS,
    TASKS,
    TRACKERS,
    Registry,
)
from sglr.runs import presets


class PartKind(StrEnum):
    """The kinds of parts."""

    methods = "methods"
    models = "models"
    tasks = "tasks"
    datasets = "datasets"
    partitioners = "partitioners"
    augmentations = "augmentations"
    merge_rules = "merge-rules"
    engines = "engines"
    attacks = "attacks"
    defences = "defences"
    trackers = "trackers"
    formats = "formats"
    presets = "presets"


REGISTRIES = {
    PartKind.methods: METHODS,
    PartKind.models: MODELS,
    PartKind.tasks: TASKS,
    PartKind.datasets: DATASETS,
    PartKind.partitioners: PARTITIONERS,
    PartKind.augmentations: AUGMENTATIONS,
    PartKind.merge_rules: MERGE_RULES,
    PartKind.engines: ENGINES,
    PartKind.attacks: ATTACKS,
    PartKind.defences: DEFENCES,
    PartKind.trackers: TRACKERS,
    PartKind.formats: EXPORTERS,
}
SERVE_TASKS = {PartKind.attacks, PartKind.defences}
"""Kinds whose parts say which tasks they work with."""
WRITTEN_WITH_PART = {*SERVE_TASKS, PartKind.augmentations, PartKind.trackers}
"""Kinds whose parameters are no flags: they are written as part:name=value."""


def list_parts(
    kind: Annotated[PartKind, typer.Argument(metavar="KIND", help=f"What to list: {', '.join(PartKind)}.")],
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", metavar="", help="Also list parameters with their defaults.")
    ] = False,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """List methods, models, data sets and all other named parts, one line each."""
    del debug
    if kind is PartKind.presets:
        parts = [_describe_preset(name, verbose) for name in presets.names()]
    else:
        parts = [_describe(kind, REGISTRIES[kind], name, verbose) for name in REGISTRIES[kind].names()]
        if kind is PartKind.models:
            parts += [
                {"name": f"{library}:NAME", "summary": NAMED_MODELS.summary(library)}
                for library in NAMED_MODELS.names()
            ]
    if as_json:
        print(json.dumps(parts, indent=2))
    else:
        _print(parts)


def _describe(kind: PartKind, registry: Registry, name: str, verbose: bool) -> dict[str, Any]:
    part: dict[str, Any] = {"name": name, "summary": registry.summary(name)}
    if verbose:
        if kind is PartKind.attacks:
            attack = registry.load(name)
            needs = sorted(str(each) for each in attack.needs)
            part |= {"attacker": attack.attacker, "needs": needs, "source": attack.source}
        if kind in SERVE_TASKS:
            part["serves"] = str(registry.load(name).serves)
        part["parameters"] = [_entry(setting, kind) for setting in parameters(registry.outline(name))]
    return part


def _describe_preset(name: str, verbose: bool) -> dict[str, Any]:
    preset: dict[str, Any] = {"name": name, "summary": presets.summary(name)}
    if verbose:
        known = experiment_settings()
        preset["settings"] = [
            {"name": key, "flag": known[key].flag, "value": value, "help": known[key].about}
            for key, value in presets.settings(name).items()
        ]
    return preset


def _entry(setting: Setting, kind: PartKind) -> dict[str, Any]:
    flag = f"{setting.name}=" if kind in WRITTEN_WITH_PART else setting.flag
    return {"name": setting.name, "flag": flag, "default": setting.default, "help": setting.about}


def _print(parts: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold cyan", no_wrap=True)
    table.add_column()
    for part in parts:
        table.add_row(part["name"], Text(part["summary"]))
        if "needs" in part:
            table.add_row("", Text(f"{part['attacker']}; needs {', '.join(part['needs'])}; {part['source']}", "dim"))
        if "serves" in part:
            table.add_row("", Text(f"serves {part['serves']}", "dim"))
        for entry in part.get("parameters", ()):
            default = "" if entry["default"] in (None, "", ()) else f"; default: {entry['default']}"
            table.add_row("", Text.assemble((entry["flag"], "cyan"), f"  {entry['help']}{default}"))
        for entry in part.get("settings", ()):
            table.add_row("", Text.assemble((f"{entry['flag']} {entry['value']}", "cyan"), f"  {entry['help']}"))
    Console(highlight=False).print(table)
