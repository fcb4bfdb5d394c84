"""What the commands that train many runs share: the options of where they train, and how their results are printed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from sglr.studies.result_table import ResultTable


def jobs_option(panel: str | None, default: str) -> Any:
    """Return the option ``--jobs``, with its default in words."""
    text = f"Trainings side by side; default: {default}."
    return typer.Option("--jobs", metavar="<int>", help=text, rich_help_panel=panel)


def cluster_option(panel: str) -> Any:
    """Return the option ``--ray-address``."""
    return typer.Option(
        "--ray-address",
        metavar="<text>",
        help="Train on the machines of a Ray cluster: auto for the one here, or HOST:PORT; needs sglr\\[ray].",
        rich_help_panel=panel,
        show_default=False,
    )


def print_results(results: ResultTable, as_json: bool, *, names: int = 1, remarks: Sequence[str] = ()) -> None:
    """Print the results of a study as JSON, or as a table with what to do next.

    Parameters
    ----------
    results
        The results.
    as_json
        Whether to print JSON.
    names
        How many of the first columns are names.
    remarks
        Lines between the table and the report's path.
    """
    if as_json:
        print(json.dumps(results.record(), indent=2))
        return
    from rich.console import Console

    from sglr.cli.screens import table

    console = Console(highlight=False)
    console.print(table(results.headings(), results.table(), named=names))
    console.print()
    diverged = [f"diverged: {note}" for note in results.notes()]
    ends = [f"report  {results.path / 'report.html'}", f"next    sglr show {results.path}"]
    for line in (*diverged, *remarks, *ends):
        console.print(line, markup=False, soft_wrap=True)
