"""Flags for every setting, made from the fields of `sglr.runs.settings.Settings` and of the registered parts."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterable, Mapping
from copy import copy
from functools import cache
from typing import Annotated, Any, get_type_hints

import typer
from rich.markup import escape
from typer.core import TyperCommand

from sglr.core.registry import DEFENCES, ENGINES, MODELS, PARTS
from sglr.core.spec import placeholder, plain_value

PART_PANELS = {
    "method": "Parameters of methods",
    "dataset": "Parameters of data sets",
    "partition": "Parameters of partitions",
    "merge_rule": "Parameters of merge rules",
    "task": "Parameters of tasks",
}

_REGISTRIES = {**PARTS, "defence": DEFENCES, "engine": ENGINES, "model": MODELS}
"""Where the names are found that settings take."""

_ALL = "sglr.help_all"
"""The key under which a command's context says that its help is to show all settings."""


@dataclasses.dataclass(frozen=True)
class Setting:
    """One setting as the command line shows it.

    Parameters
    ----------
    name
        Its key in a configuration file; the flag has hyphens for underscores.
    kind
        Its type annotation.
    default
        Its default, None where there is none.
    about
        What it is, in one line.
    panel
        The heading in the help.
    basic
        Whether it is in the help that ``--help`` shows, or only in that of ``--help-all``.
    by_run, bare
        As in `sglr.runs.facts.SettingFacts`.
    """

    name: str
    kind: Any
    default: Any
    about: str
    panel: str
    basic: bool = False
    by_run: bool = False
    bare: str | None = None

    @property
    def flag(self) -> str:
        """The flag, such as ``--batch-size``."""
        return f"--{self.name.replace('_', '-')}"

    @property
    def placeholder(self) -> str:
        """The placeholder of the value in the help, such as ``<number>``."""
        return placeholder(self.kind)

    @property
    def help(self) -> str:
        """What the setting is, and its default."""
        plain = self.default not in (None, "", (), False)
        return f"{self.about}; default: {self.default}" if plain else self.about

    def read(self, text: str | bool) -> Any:
        """Return what was typed: None for ``none``, a tuple for a list, where the setting's type allows it."""
        return plain_value(self.kind, text)

    def complete(self, incomplete: str) -> list[str]:
        """Return the names of parts that a shell offers for the value that is being typed."""
        registry = _REGISTRIES.get(self.name)
        return [name for name in registry.names() if name.startswith(incomplete)] if registry else []

    def option(self) -> inspect.Parameter:
        """Return the parameter that makes typer offer the flag."""
        switch = self.kind in (bool, bool | None)
        option = typer.Option(
            f"{self.flag}/--no-{self.flag[2:]}" if switch else self.flag,
            metavar="" if switch else self.placeholder,
            help=escape(self.help),
            show_default=False,
            rich_help_panel=self.panel,
            autocompletion=self.complete if self.name in _REGISTRIES else None,
        )
        kind = Annotated[bool | None, option] if switch else Annotated[str | None, option]
        return inspect.Parameter(self.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind)


class SettingsCommand(TyperCommand):
    """A command that takes every setting as a flag; those that were given are in ``ctx.obj``.

    Flags are gathered when they are first needed. ``--help`` shows those that most people use, ``--help-all`` all.
    """

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the command's own options and one for every further setting, in the order of the help."""
        own: list[Any] = [*super().get_params(ctx)]
        first = [param for param in own if param.rich_help_panel not in ("Output", None)]
        last = [param for param in own if param not in first]
        taken = {flag for param in own for flag in param.opts}
        offered = [copy(param) for param in _setting_options() if taken.isdisjoint(param.opts)]
        known = settings()
        for param in offered:
            param.hidden = not (ctx.meta.get(_ALL) or known[param.name].basic)
        return [*first, *offered, *last, _help_all()]

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the command line, where some flags may lack their values."""
        return super().parse_args(ctx, _with_values(args))

    def invoke(self, ctx: Any) -> Any:
        """Run the command, with the settings that were given moved to ``ctx.obj``."""
        known = settings()
        ctx.obj = {
            name: known[name].read(ctx.params[name])
            for name in known.keys() & ctx.params.keys()
            if ctx.params[name] is not None
        }
        ctx.params = {name: value for name, value in ctx.params.items() if name not in known and name != "help_all"}
        return super().invoke(ctx)


def _with_values(args: list[str]) -> list[str]:
    """Give flags that may stand alone the value that they mean then, where no value follows."""
    bare = {setting.flag: setting.bare for setting in settings().values() if setting.bare is not None}
    following = [*args, "--"][1:] if args else []
    return [
        f"{arg}={bare[arg]}" if arg in bare and after.startswith("--") else arg
        for arg, after in zip(args, following, strict=True)
    ]


@cache
def settings() -> dict[str, Setting]:
    """Return all settings by name: those of `Experiment`, then those of the registered parts."""
    own = experiment_settings()
    parts = [setting for setting in part_settings() if setting.name not in own]
    return own | {setting.name: setting for setting in parts}


def experiment_settings() -> dict[str, Setting]:
    """Return the settings that belong to no part, by name, in the order of the help."""
    from sglr.runs.config import FACTS, Experiment
    from sglr.runs.presets import PRESET

    about = "named settings that apply where you give none (sglr list presets)"
    found = [Setting(PRESET, str | None, None, about, "Method", basic=True)]
    for name, field in Experiment.model_fields.items():
        if name in FACTS:
            facts, about = FACTS[name], field.description or ""
            own = name, field.annotation, field.default, about, facts.panel, facts.basic
            found.append(Setting(*own, bare=facts.bare))
    panels = list(dict.fromkeys(setting.panel for setting in found))
    return {setting.name: setting for setting in sorted(found, key=lambda setting: panels.index(setting.panel))}


def part_settings() -> list[Setting]:
    """Return the parameters of all methods, data sets and partitions, each naming the parts that have it."""
    found = []
    for kind, registry in PARTS.items():
        owners: dict[str, dict[str, Setting]] = {}
        for part in registry.names():
            for setting in parameters(registry.outline(part), PART_PANELS[kind]):
                owners.setdefault(setting.name, {})[part] = setting
        found += [_shared(by_part) for by_part in owners.values()]
    return found


def parameters(part: type[Any], panel: str = "") -> list[Setting]:
    """Return the parameters of one part."""
    if not dataclasses.is_dataclass(part):
        return []
    kinds = get_type_hints(part)
    return [_parameter(field, kinds[field.name], panel) for field in dataclasses.fields(part) if field.init]


def _parameter(field: dataclasses.Field[Any], kind: Any, panel: str) -> Setting:
    from sglr.runs.facts import facts_of_parameter

    facts, about = facts_of_parameter(field, panel), str(field.metadata.get("help", ""))
    return Setting(field.name, kind, _default(field), about, panel, facts.basic, facts.by_run)


def epilog(*commands: str) -> str:
    """Return example commands as a help text ends with them."""
    return "\n\n".join(["[bold]Examples[/bold]", *(f"  $ {command}" for command in commands)])


def _shared(by_part: Mapping[str, Setting]) -> Setting:
    """Describe a parameter that several parts have; where they differ, what all have in common."""
    first, *others = by_part.values()
    about, default = first.about, first.default
    if any(other.about != about for other in others):
        about = about.partition(";")[0]
    if any(other.default != default for other in others):
        default = None
    basic = any(setting.basic for setting in by_part.values())
    return dataclasses.replace(first, about=f"{about} ({', '.join(by_part)})", default=default, basic=basic)


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default is not dataclasses.MISSING:
        return field.default
    return field.default_factory() if field.default_factory is not dataclasses.MISSING else None


@cache
def _setting_options() -> list[Any]:
    return click_options(settings().values())


def click_options(settings: Iterable[Setting]) -> list[Any]:
    """Return settings as the options that a command holds."""
    return _options(*(setting.option() for setting in settings))


@cache
def _help_all() -> Any:
    """Return the option that shows the help with all settings."""

    def show(ctx: typer.Context, wanted: bool) -> None:
        if wanted:
            ctx.meta[_ALL] = True
            print(ctx.get_help())
            raise typer.Exit

    flag = typer.Option("--help-all", metavar="", is_eager=True, callback=show, help="Show all settings.")
    kind = Annotated[bool, flag]
    return _options(inspect.Parameter("help_all", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=kind))[0]


def _options(*parameters: inspect.Parameter) -> list[Any]:
    """Return parameters as typer makes options of them."""

    def gather(**given: Any) -> None:
        del given

    gather.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    gather.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    gatherer = typer.Typer(add_completion=False)
    gatherer.command()(gather)
    return list(typer.main.get_command(gatherer).params)
