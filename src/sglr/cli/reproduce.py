"""``sglr reproduce``: the paper's tables and figures, trained anew and compared with its numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from sglr.cli.options import AsJson, Debug, Out, Quiet, typed
from sglr.cli.study import jobs_option

if TYPE_CHECKING:
    from rich.table import Table

    from sglr.studies.papers.reproduce import Reproduction

MARKS = {"holds": ("✓", "green"), "fails": ("✗", "red"), "undecided": ("?", "yellow")}
"""How a verdict is shown: a mark and a colour."""

Names = Annotated[
    list[str], typer.Argument(metavar="ARTEFACT…", help="table1 to table6, fig2 to fig5, or all.", show_default=False)
]
Scale = Annotated[
    str,
    typer.Option(
        "--scale",
        metavar="full|small|smoke",
        help="full is the paper's setting; small is for two cores, up to an hour for a table; smoke shows in a minute "
        "that everything runs.",
    ),
]
Seeds = Annotated[
    int | None, typer.Option("--seeds", metavar="<int>", help="Runs of every entry; default: the scale's own number.")
]
Device = Annotated[str, typer.Option("--device", metavar="<text>", help="auto, cpu or cuda.")]
Jobs = Annotated[int | None, jobs_option(None, "one per core, one on a GPU")]
DataDir = Annotated[
    Path | None, typer.Option("--data-dir", metavar="<path>", help="Folder with data files; default: $SGLR_DATA_DIR")
]


def reproduce(
    ctx: typer.Context,
    names: Names,
    scale: Scale = "small",
    seeds: Seeds = None,
    device: Device = "auto",
    jobs: Jobs = None,
    data_dir: DataDir = None,
    out: Out = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Train the runs behind the paper's tables and figures, and judge each of its claims by a stated test.

    Writes report.html, results.md and reproduction.json into --out (default: runs/reproduce-SCALE).

    Every run is trained once: the same command again goes on with what was stopped, and repeats nothing.
    """
    del debug
    from sglr.cli.watching import watching
    from sglr.studies.papers.reproduce import reproduce as run_all

    with watching(quiet) as watch:
        result = run_all(
            names,
            scale,
            seeds=seeds,
            device=device,
            data_dir=data_dir,
            jobs=jobs,
            out=out,
            command=typed(ctx),
            observe=watch.observe,
            stop=watch.stop,
        )
    if as_json:
        print(json.dumps({"artefacts": list(result.records)}, indent=2))
    else:
        print_reproduction(result)


def print_reproduction(result: Reproduction) -> None:
    """Print each table and each claim's verdict, and where more is to be read."""
    from rich.console import Console

    console = Console(highlight=False)
    for record in result.records:
        console.print(f"{record['title']}  ({record['scale']})", style="bold", markup=False)
        for figures in record["tables"]:
            unit = f", {figures['unit']}" if figures["unit"] else ""
            console.print(f"{figures['caption']}{unit} (the paper's in brackets)", style="dim", markup=False)
            console.print(_figures(figures))
            console.print()
        for claim in record["claims"]:
            mark, style = MARKS[claim["verdict"]]
            console.print(f"[{style}]{mark} {claim['verdict']:<9}[/]  {escape(claim['claim'])}", soft_wrap=True)
            console.print(f"             {claim['evidence']}", style="dim", markup=False, soft_wrap=True)
        console.print()
    console.print(f"report   {result.path / 'report.html'}", markup=False, soft_wrap=True)
    console.print(f"results  {result.path / 'results.md'}", markup=False, soft_wrap=True)


def _figures(figures: Mapping[str, Any]) -> Table:
    """Return a table of ours ± spread with the paper's in brackets, turned on its side where it is wider than long."""
    from sglr.cli.screens import table

    title, rows, columns = figures["row_title"], figures["rows"], figures["columns"]
    cells = [[_written(cell) for cell in row] for row in figures["cells"]]
    if len(columns) <= len(rows):
        return table((title, *columns), [(name, *row) for name, row in zip(rows, cells, strict=True)])
    # Headings break at spaces that are not hard.
    headings = [f"{title} = {row}".replace(" ", "\u00a0") if row.isdigit() else row for row in rows]
    turned = [(name, *row) for name, row in zip(columns, zip(*cells, strict=True), strict=True)]
    return table(("", *headings), turned)


def _written(cell: Mapping[str, Any]) -> str:
    from sglr.report.numbers import NONE

    if cell["ours"] is None:
        return "diverged" if cell["note"] else NONE
    spread = f" ±{cell['spread']:.2g}" if cell["spread"] is not None else ""
    return f"{_figure(cell['ours'])}{spread}" + (f" ({_figure(cell['paper'])})" if cell["paper"] is not None else "")


def _figure(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
