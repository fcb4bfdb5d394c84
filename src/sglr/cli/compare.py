"""``sglr compare``: several methods and seeds, one table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from sglr.cli.options import AsJson, Config, Debug, Out, Quiet, typed
from sglr.cli.study import cluster_option, jobs_option, print_results
from sglr.core.errors import UsageError

PANEL = "Comparison"

Methods = Annotated[
    list[str],
    typer.Option(
        "--methods",
        "--method",
        metavar="<list>",
        help="Methods with commas between them, each with parameters if you like (sglr:phi=0.5,alpha=1), or all; "
        "can be repeated.",
        rich_help_panel=PANEL,
    ),
]
Seeds = Annotated[
    str | None,
    typer.Option(
        "--seeds",
        "--seed",
        metavar="<int,…>",
        help="Run every method with each of these seeds; default: 0",
        rich_help_panel=PANEL,
        show_default=False,
    ),
]
Jobs = Annotated[int | None, jobs_option(PANEL, "1, which uses all cores; on a cluster, as many as fit")]
Cluster = Annotated[str | None, cluster_option(PANEL)]
TimeTo = Annotated[
    float | None,
    typer.Option(
        "--time-to",
        metavar="<number>",
        help="With --clock: the score to which modelled times are told, such as 0.75; default: what all reach",
        rich_help_panel=PANEL,
        show_default=False,
    ),
]


def compare(
    ctx: typer.Context,
    methods: Methods,
    seeds: Seeds = None,
    jobs: Jobs = None,
    cluster: Cluster = None,
    time_to: TimeTo = None,
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
    from sglr.cli.loaded import print_loaded
    from sglr.cli.watching import watching
    from sglr.studies.compare.compare import compare as run_all

    settings = read_settings(config, ctx.obj)
    chosen = _seeds(seeds if seeds is not None else str(settings.pop("seed", 0)))
    with watching(quiet) as watch:
        result = run_all(
            methods,
            seeds=chosen,
            out=out,
            jobs=1 if jobs is None and cluster is None else jobs,
            ray_address=cluster,
            observe=watch.observe,
            stop=watch.stop,
            loaded=print_loaded(watch.write, as_json),
            command=typed(ctx),
            time_to=time_to,
            **settings,
        )
    print_results(result, as_json)


def read_settings(config: Path | None, flags: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a file, if one is given, with flags over them; its method is ignored."""
    from sglr.runs.config import read_toml
    from sglr.runs.presets import expanded

    settings = {} if config is None else expanded(read_toml(config))
    settings.pop("method", None)
    return settings | expanded(flags)


def _seeds(text: str) -> list[int]:
    try:
        return [int(word) for word in text.split(",") if word.strip()]
    except ValueError as error:
        raise UsageError("seeds", text, "is not a list of whole numbers", "write it like 0,1,2") from error
