"""Put figures into the HTML templates beside this file; all text from outside is escaped."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from sglr.report import numbers
from sglr.report.palette import DEEPEST_DARK, DEEPEST_LIGHT, KINDS, OVER, SERIES, UNDER, dark_rules, triple
from sglr.runs.folder import without_passwords

if TYPE_CHECKING:
    from jinja2 import Environment


def render(template: str, **content: Any) -> str:
    """Fill the template of that file name.

    Text in ``content`` is escaped, except what is `markupsafe.Markup`.
    """
    return _environment().get_template(template).render(content)


@cache
def _environment() -> Environment:
    """Return what all pages are made with; it keeps its templates compiled."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for name in ("percent", "points", "size", "duration", "count", "decimal"):
        environment.filters[name] = getattr(numbers, name)
    environment.filters["triple"] = triple
    environment.globals |= {"dark_chart_rules": dark_rules(), "series": SERIES, "kinds": KINDS}
    environment.globals |= {"over": OVER, "under": UNDER}
    environment.globals |= {"deep": {"light": DEEPEST_LIGHT, "dark": DEEPEST_DARK}}
    return environment


def setting_rows(settings: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return name, value and meaning of every setting that is not empty, passwords in addresses left out."""
    meanings = _meanings(settings)
    shown = {name: without_passwords(written(value)) for name, value in settings.items() if value not in ("", [])}
    return [(name, value, meanings.get(name, "")) for name, value in shown.items()]


def environment_rows(versions: Mapping[str, str], machine: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return name and value of what a result depends on beside its settings: software, then the machine."""
    names = {"system": "System", "processor": "Processor", "cores": "Processor cores", "gpu": "GPU"}
    # Runs of before a machine was noted have its system among the versions.
    software = {name: value for name, value in versions.items() if name != "platform" or "system" not in machine}
    rows = [("System" if name == "platform" else f"Version of {name}", value) for name, value in software.items()]
    return rows + [(names.get(name, name), value) for name, value in machine.items()]


def merged(several: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Merge the records of several runs; where they differ, all values are listed."""
    found: dict[str, list[str]] = {}
    for one in several:
        for name, value in one.items():
            found.setdefault(str(name), []).append(str(value))
    return {name: "; ".join(dict.fromkeys(values)) for name, values in found.items()}


def relative_link(target: Path, folder: Path) -> str:
    """Return the link to a file from a page in ``folder``."""
    return quote(Path(os.path.relpath(target, folder)).as_posix())


def _meanings(settings: Mapping[str, Any]) -> dict[str, str]:
    from sglr.core.errors import UsageError
    from sglr.core.registry import PARTS
    from sglr.runs.config import Experiment, part_fields

    meanings = {name: field.description or "" for name, field in Experiment.model_fields.items()}
    for kind in PARTS:
        try:
            fields = part_fields(kind, str(settings.get(kind, "")))
        except UsageError:  # the package that brought this part is not installed here
            continue
        meanings |= {name: str(field.metadata.get("help", "")) for name, field in fields.items()}
    return meanings


def written(value: Any) -> str:
    """Write a setting's value as a table shows it; a dash where there is none."""
    if value is None:
        return numbers.NONE
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(written(item) for item in value)
    return f"{value:g}" if isinstance(value, float) else str(value)
