"""``sglr compare``: several methods and seeds, one table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sglr.cli.options import AsJson, Config, Debug, Out, Quiet, typed
from sglr.core.errors import UsageError

if TYPE_CHECKING:
    from sglr.studies.compare.comparison import Comparison

Methods = Annotated[
    list[str],
    typer.Option(
        "--methods",
        "--method",
        metavar="<list>",
        help="Methods with commas between them, each with parameters if you like (sglr:phi=0.5,alpha=1), or all; "
        "can be repeated.",
        rich_help_panel="Comparison",
    ),
]
Seeds = Annotated[
    str | None,
    typer.Option(
        "--seeds",
        "--seed",
        metavar="<int,…>",
        help="Run every method with each of these seeds; default: 0",
        rich_help_panel="Comparison",
        show_default=False,
    ),
]


def compare(
    ctx: typer.Context,
    methods: Methods,
    seeds: Seeds = None,
    config: Config = None,
    out: Out = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Train with several methods and seeds, and compare what comes out in one table and one plot.

    The same command again with the same --out goes on with what was stopped, and repeats nothing.

    Every setting of sglr train applies to all methods; parameters of methods apply to those that have them.
    """
    del debug
    from sglr.cli.loaded import tell_loaded
    from sglr.cli.watch import watching
    from sglr.studies.compare.compare import compare as run_all

    settings = read_settings(config, ctx.obj)
    chosen = _seeds(seeds if seeds is not None else str(settings.pop("seed", 0)))
    with watching(quiet) as watch:
        result = run_all(
            methods,
            seeds=chosen,
            out=out,
            observe=watch.observe,
            stop=watch.stop,
            loaded=tell_loaded(watch.write, as_json),
            command=typed(ctx),
            **settings,
        )
    if as_json:
        print(json.dumps(result.record(), indent=2))
    else:
        print_comparison(result)


def read_settings(config: Path | None, flags: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a file, if one is given, with flags over them; the methods are told apart from them."""
    from sglr.runs.config import read_toml
    from sglr.runs.presets import expanded

    settings = {} if config is None else expanded(read_toml(config))
    settings.pop("method", None)
    return settings | expanded(flags)


def print_comparison(comparison: Comparison) -> None:
    """Print the table of a comparison, and where more is to be read."""
    from rich.console import Console

    from sglr.cli.screens import table

    console = Console(highlight=False)
    console.print(table(comparison.headings(), comparison.table()))
    console.print()
    for note in comparison.notes():
        console.print(f"diverged: {note}", markup=False, soft_wrap=True)
    console.print(f"report  {comparison.path / 'report.html'}", markup=False, soft_wrap=True)
    console.print(f"next    sglr show {comparison.path}", markup=False, soft_wrap=True)


def _seeds(text: str) -> list[int]:
    try:
        return [int(word) for word in text.split(",") if word.strip()]
    except ValueError as error:
        raise UsageError("seeds", text, "is not a list of whole numbers", "write it like 0,1,2") from error
