"""``sglr leak``: measure and attack what trained runs leak."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from sglr.cli.options import AsJson, Debug, OwnModel, Quiet, typed
from sglr.core.errors import UsageError

PANEL = "What to examine"

Folders = Annotated[list[Path], typer.Argument(metavar="RUN…", help="Folders of trained runs.", show_default=False)]
Clients = Annotated[
    int, typer.Option("--clients", metavar="<int>", help="Clients per run, drawn by the seed.", rich_help_panel=PANEL)
]
Samples = Annotated[
    int | None,
    typer.Option(
        "--samples",
        metavar="<int>",
        help="Most samples per client; default: what each measure needs.",
        rich_help_panel=PANEL,
        show_default=False,
    ),
]
Measures = Annotated[
    str,
    typer.Option(
        "--measures",
        metavar="<list>",
        help="all, none, or of mutual_information, distance_correlation, reconstruction, label_inference_accuracy.",
        rich_help_panel=PANEL,
    ),
]
Attacks = Annotated[
    list[str] | None,
    typer.Option(
        "--attack",
        metavar="<name>",
        help="Attack, with options (decoder:steps=500,samples=64); can be repeated (sglr list attacks).",
        rich_help_panel=PANEL,
        show_default=False,
    ),
]
Attacker = Annotated[
    str | None,
    typer.Option(
        "--attacker",
        metavar="server|client|outsider",
        help="The attacker; default: the one in the attack's source.",
        rich_help_panel=PANEL,
        show_default=False,
    ),
]
Seed = Annotated[int, typer.Option("--seed", metavar="<int>", help="Seed of all draws.", rich_help_panel=PANEL)]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        metavar="<folder>",
        help="Folder for the page about several runs; default: the current folder.",
        rich_help_panel="Output",
        show_default=False,
    ),
]


def leak(
    ctx: typer.Context,
    runs: Folders,
    clients: Clients = 3,
    samples: Samples = None,
    measures: Measures = "all",
    attack: Attacks = None,
    attacker: Attacker = None,
    seed: Seed = 0,
    out: Out = None,
    model: OwnModel = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Measure what trained runs leak about their clients' data, and attack them.

    Writes leakage.json into each run's folder, and a section into its report. For several runs, also one page that
    shows them side by side: what can be reconstructed from each, and accuracy against leakage.

    Running it again does not repeat finished work; new measures and attacks are added to the results.
    """
    del debug
    from sglr.leakage.compared import write_comparison
    from sglr.leakage.leak import leak as look
    from sglr.runs.folder import Run

    opened = [Run.open(folder) for folder in runs]
    if model is not None:
        own = [run for run in opened if run.settings.get("model") == model] or opened
        opened = [Run.open(run.path, model) if run in own else run for run in opened]
    if out is not None and len(runs) == 1:
        raise UsageError("out", out, "the report of one run is in its own folder", "leave it out, or give several runs")
    show = sys.stderr.isatty() and not quiet
    names = tuple(filter(None, (word.strip().replace("-", "_") for word in measures.split(","))))
    records = {
        str(run.path): look(
            run,
            clients=clients,
            samples=samples,
            measures=names or ("none",),
            attacks=tuple(attack or ()),
            attacker=attacker,
            seed=seed,
            say=_say if show else _silent,
        )
        for run in opened
    }
    page = write_comparison(opened, out or Path(), typed(ctx)) if len(opened) > 1 else opened[0].path / "report.html"
    if as_json:
        told = next(iter(records.values())) if len(records) == 1 else {"runs": records}
        print(json.dumps(told, indent=2))
        return
    _print(records, page)


def _say(message: str) -> None:
    print(message, file=sys.stderr)


def _silent(message: str) -> None:
    del message


def _print(records: Mapping[str, Mapping[str, Any]], page: Path) -> None:
    from rich.console import Console

    from sglr.cli.screens import table
    from sglr.report.leakage import conditions, measure_rows

    console = Console(highlight=False)
    for path, record in records.items():
        if len(records) > 1:
            console.print(path, style="bold", markup=False, soft_wrap=True)
        for sentence in record["reading"]:
            console.print(f"• {sentence}", markup=False, soft_wrap=True)
        console.print()
        rows = measure_rows(record.get("leakage", {}))
        if rows:
            shown = [(row["name"], row["figure"], row["interval"], row["baseline"]) for row in rows]
            console.print(table(("measure", "figure", "95\u00a0%\u00a0interval", "seeing\u00a0nothing"), shown))
            console.print(conditions(record["conditions"]), style="dim", markup=False, soft_wrap=True)
        if record["attacks"]:
            console.print(_attacks(record["attacks"]))
        for name, why in record.get("missing", {}).items():
            console.print(f"not measured: {name.replace('_', ' ')}: {why}", markup=False, soft_wrap=True)
        console.print()
    console.print(f"report  {page}", markup=False, soft_wrap=True)


def _attacks(attacks: Sequence[Mapping[str, Any]]) -> Any:
    from sglr.cli.screens import table
    from sglr.report.leakage import attack_row

    rows = [attack_row(attack) for attack in attacks]
    shown = [
        (row["attack"], row["attacker"], row["measure"], row["verdict"], row["score"], row["baseline"]) for row in rows
    ]
    return table(("attack", "by the", "score is", "outcome", "score", "seeing\u00a0nothing"), shown, named=4)
