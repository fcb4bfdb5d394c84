"""The reference of settings and parts, made of the fields that flags are made of."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from command_line import cell, code

from sglr.cli.list import REGISTRIES, WRITTEN_WITH_PART, PartKind
from sglr.cli.settings import Setting, parameters, settings
from sglr.core.registry import Registry
from sglr.runs.config import FACTS

SETTINGS = """# Settings

Each is a flag of `sglr train`, `compare`, `sweep` and `serve`, a key of a TOML file (`--config`; with underscores
instead of hyphens), and a keyword of `sglr.train` and `sglr.Experiment`. `sglr train --help` shows those that people
use, in bold here; `sglr train --help-all` shows all.
"""

PARTS = """# Parts

What names stand for: `sglr list KIND --verbose` prints the same. Packages of others can bring more
([contributing](../contributing.md)). Parameters of {written} are written with the part's name, as in
`--defence noise:sigma=0.5`; all others are flags and [settings](settings.md).
"""


def pages() -> dict[str, str]:
    """Return both pages, by their place in the site."""
    return {"reference/settings.md": "\n".join(_settings_page()), "reference/parts.md": "\n".join(_parts_page())}


def _settings_page() -> Iterator[str]:
    yield SETTINGS
    known = settings().values()
    for panel in dict.fromkeys(setting.panel for setting in known):
        yield f"\n## {panel}\n\n| flag | default | what it is |\n|---|---|---|"
        yield from (_row(setting) for setting in known if setting.panel == panel)


def _row(setting: Setting) -> str:
    flag = code(setting.flag) if setting.kind is bool else f"{code(setting.flag)} {code(setting.placeholder)}"
    return (
        f"| {f'**{flag}**' if setting.basic else flag} | {_default(setting)} | {cell(setting.about)}{_facts(setting)} |"
    )


def _default(setting: Setting) -> str:
    return "" if setting.default in (None, "", (), False) else f"`{setting.default}`"


def _facts(setting: Setting) -> str:
    facts = FACTS.get(setting.name)
    notes = [f"engine {facts.engine} only"] if facts and facts.engine else []
    notes += [f"since {facts.since}"] if facts and facts.since else []
    return f" *({', '.join(notes)})*" if notes else ""


def _parts_page() -> Iterator[str]:
    yield PARTS.format(written=", ".join(sorted(WRITTEN_WITH_PART)))
    for kind, registry in REGISTRIES.items():
        yield f"\n## {kind.replace('-', ' ').capitalize()}\n\n| name | what it is | parameters |\n|---|---|---|"
        yield from (_part_row(kind, registry, name) for name in registry.names())


def _part_row(kind: PartKind, registry: Registry, name: str) -> str:
    written = [_parameter(kind, setting) for setting in parameters(registry.outline(name))]
    label = f"[`{name}`](../methods/{name}.md)" if kind is PartKind.methods else f"`{name}`"
    return f"| {label} | {cell(registry.summary(name))} | {'<br>'.join(written)} |"


def _parameter(kind: PartKind, setting: Setting) -> str:
    name = setting.name if kind in WRITTEN_WITH_PART else setting.flag
    return f"`{name}` {cell(setting.about)}{_told_default(setting.default)}"


def _told_default(value: Any) -> str:
    return "" if value in (None, "", (), False) else f" (`{value}`)"
