"""``sglr sweep``: all configurations of a grid, one table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sglr.cli.options import AsJson, Debug, Out, Quiet, typed
from sglr.cli.study import cluster_option, jobs_option, print_results

if TYPE_CHECKING:
    from sglr.studies.sweeps.results import Sweep
    from sglr.studies.sweeps.sweep import SweepPlan

PANEL = "Sweep"

GridFile = Annotated[
    Path, typer.Argument(metavar="GRID", help="TOML file with the grid, as above.", show_default=False)
]
Jobs = Annotated[int | None, jobs_option(PANEL, "one per core, one on a GPU; on a cluster, as many as fit")]
Limit = Annotated[
    int, typer.Option("--limit", metavar="<int>", help="Refuse a grid of more runs than this.", rich_help_panel=PANEL)
]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run", metavar="", help="Check everything, list the configurations, train nothing.", rich_help_panel=PANEL
    ),
]
Cluster = Annotated[str | None, cluster_option(PANEL)]


def sweep(
    ctx: typer.Context,
    grid: GridFile,
    jobs: Jobs = None,
    cluster: Cluster = None,
    limit: Limit = 1000,
    dry_run: DryRun = False,
    out: Out = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    r"""Train all configurations of a grid, several at a time, and compare them in one table and one plot.

    A grid is a TOML file: settings that all share, then \[grid] with a list of values for each setting that varies.

    [dim]  dataset = "digits"
      epochs = 10

      \[grid]
      method = \["psl", "sglr:phi=0.5", "sglr:phi=1,average=class"]
      lr = \[0.001, 0.003, 0.01]
      seed = \[0, 1, 2]

      \[\[case]]
      method = "cl"[/dim]

    Every combination is a configuration, and every \[\[case]] is one more; seeds repeat them all.

    The same command again goes on with what was stopped, and repeats nothing; a longer grid adds to it.

    Settings given here as flags win over those that all share. The folder is runs/sweep-GRID, or --out.
    """
    del debug
    from sglr.cli.watching import watching
    from sglr.studies.sweeps.sweep import plan
    from sglr.studies.sweeps.sweep import sweep as run_all

    settings: dict[str, Any] = ctx.obj
    if dry_run:
        from sglr.studies.scheduler.checks import check_builds
        from sglr.studies.scheduler.datasets import Datasets

        planned = plan(grid, out=out, limit=limit, **settings)
        check_builds(planned.trials, Datasets(), elsewhere=cluster is not None)
        return print_plan(planned, as_json)
    with watching(quiet) as watch:
        result = run_all(
            grid,
            out=out,
            jobs=jobs,
            ray_address=cluster,
            limit=limit,
            observe=watch.observe,
            stop=watch.stop,
            command=typed(ctx),
            **settings,
        )
    return print_sweep(result, as_json)


def print_sweep(sweep: Sweep, as_json: bool) -> None:
    """Print the results of a sweep, with its best configuration."""
    from sglr.studies.result_table import test_figure

    remarks, score = [], sweep.score
    for word, row in (("best   ", sweep.best), ("ceiling", sweep.ceiling)):
        if row is not None:
            pooled = ", on all clients' data pooled" if row is sweep.ceiling else ""
            remarks.append(f"{word} {row['label']}: {test_figure(row, score)}{pooled}")
    print_results(sweep, as_json, names=sweep.headings().index(sweep.headline.heading), remarks=remarks)


def print_plan(plan: SweepPlan, as_json: bool) -> None:
    """Print what a sweep would train."""
    states = {one.label: [plan.state(experiment) for experiment in one.experiments] for one in plan.configurations}
    every = [state for several in states.values() for state in several]
    if as_json:
        rows = [
            {"label": one.label, "values": dict(one.values), "seeds": one.seeds, "states": states[one.label]}
            for one in plan.configurations
        ]
        print(json.dumps({"runs": len(every), "rows": rows}, indent=2))
        return
    from rich.console import Console

    from sglr.cli.screens import table
    from sglr.report.page import written

    keys = list(plan.configurations[0].values)
    lines = [
        (*(written(one.values[key]) for key in keys), ", ".join(map(str, one.seeds)), _counted(states[one.label]))
        for one in plan.configurations
    ]
    console = Console(highlight=False)
    console.print(table((*keys, "seeds", "state"), lines, named=len(keys)))
    console.print()
    configurations = f"{len(lines)} configuration{'' if len(lines) == 1 else 's'}"
    console.print(f"{configurations}, {len(every)} runs ({_counted(every)}) in {plan.folder}", markup=False)


def _counted(states: list[str]) -> str:
    found = {state: states.count(state) for state in dict.fromkeys(states)}
    if len(found) == 1:
        return states[0]
    return ", ".join(f"{number} {state}" for state, number in found.items())
