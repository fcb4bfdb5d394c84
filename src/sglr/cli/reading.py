"""Commands that read data, with a flag for each setting of the data set."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, ClassVar

from typer.core import TyperCommand

from sglr.cli.settings import PART_PANELS, Setting, click_options, parameters, part_settings
from sglr.core.registry import DATASETS

FORM = frozenset(
    (
        *("inputs", "targets", "on_bad", "first_label", "time_column", "na", "separator", "decimal", "thousands"),
        *("encoding", "header", "skip_rows", "text_column", "tokenizer", "image_column"),
    )
)
"""Settings of data sets that tell how files are written."""


class ReadingCommand(TyperCommand):
    """A command that takes settings of data sets as flags; ``ctx.obj`` has those that were given.

    Attributes
    ----------
    offered
        Returns the settings that are flags, by name.
    """

    offered: ClassVar[Callable[[], dict[str, Setting]]]

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the command's own options and those for reading data."""
        return [*super().get_params(ctx), *click_options(type(self).offered().values())]

    def invoke(self, ctx: Any) -> Any:
        """Run the command, with the settings of data sets separated from its own options."""
        known = type(self).offered()
        given = {name: ctx.params.pop(name) for name in known}
        ctx.obj = {name: known[name].read(value) for name, value in given.items() if value is not None}
        return super().invoke(ctx)


@cache
def of_described() -> dict[str, Setting]:
    """Return the settings of data that a schema describes, except the schema."""
    parts = [DATASETS.outline(name) for name in DATASETS.names() if name != "sites"]
    described = [{setting.name for setting in parameters(part)} for part in parts]
    known = {name for names in described if "schema" in names for name in names} - {"path", "schema"}
    return {name: setting for name, setting in _of_datasets().items() if name in known}


@cache
def at_a_site() -> dict[str, Setting]:
    """Return the settings of a site's data, except those that the run decides."""
    return {name: setting for name, setting in _of_datasets().items() if not setting.by_run}


def _of_datasets() -> dict[str, Setting]:
    return {setting.name: setting for setting in part_settings() if setting.panel == PART_PANELS["dataset"]}


class SchemaCommand(ReadingCommand):
    """``sglr schema``."""

    offered = staticmethod(of_described)


@cache
def of_new_data() -> dict[str, Setting]:
    """Return the settings by which new data are read: those of their form, not of their division."""
    own = at_a_site()
    return {name: setting for name, setting in own.items() if name in FORM}


class PredictCommand(ReadingCommand):
    """``sglr predict`` and ``sglr evaluate``."""

    offered = staticmethod(of_new_data)


class JoinCommand(ReadingCommand):
    """``sglr join``."""

    offered = staticmethod(at_a_site)
