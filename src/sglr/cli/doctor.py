"""``sglr doctor``: check the connection from this machine to a server, and print remedies."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer

from sglr.cli.options import AsJson, Debug, read_token
from sglr.system.extras import require

Address = Annotated[str, typer.Argument(metavar="HOST:PORT", help="Where the server listens.")]
Token = Annotated[
    str | None,
    typer.Option("--token", metavar="<text>", help="Your unused join token; this check does not use it up."),
]
Folder = Annotated[
    Path | None,
    typer.Option("--folder", metavar="<folder>", help="Your folder as a client (the --out of sglr join)."),
]
Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="<package.module:function>",
        help="Your copy of the run's model, if it is not one of sglr's.",
    ),
]
Task = Annotated[
    str | None,
    typer.Option(
        "--task",
        metavar="<package.module:Name>",
        help="Your copy of the run's task, if it is not one of sglr's.",
    ),
]
Timeout = Annotated[float, typer.Option("--timeout", metavar="<seconds>", help="Longest wait for an answer.")]

SIGNS = {"ok": ("✓", "green"), "problem": ("✗", "red"), "not checked": ("–", "dim")}


def doctor(
    address: Address,
    token: Token = None,
    folder: Folder = None,
    model: Model = None,
    task: Task = None,
    timeout: Timeout = 5.0,
    as_json: AsJson = False,
    debug: Debug = False,
) -> int:
    """Check the connection to a server: name, port, certificate, clock, versions, model and cut, round trip, bandwidth.

    What is checked depends on what you give: nothing: the connection; a join token: also whether it is the
    right server and whether the token is valid; your folder after joining: everything.
    """
    del debug
    require("sites", "address", address)
    from sglr.sites.doctor import PROBLEM, Patient

    patient = Patient(address, read_token(token) if token else None, folder, model, timeout, task=task)
    found = []
    for check in patient.examine():
        found.append(check)
        if not as_json:
            _print(check.name, check.state, check.found, check.remedy)
    problems = sum(check.state == PROBLEM for check in found)
    if as_json:
        print(json.dumps([dataclasses.asdict(check) for check in found], indent=2))
    return 1 if problems else 0


def _print(name: str, state: str, found: str, remedy: str) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    sign, colour = SIGNS[state]
    row = Table.grid(padding=(0, 1))
    row.add_column(width=1)
    row.add_column(width=11)
    row.add_column(overflow="fold")
    row.add_row(
        Text(sign, style=colour), Text(name), Text(found or state, style="dim" if state == "not checked" else "")
    )
    if remedy:
        row.add_row("", "", Text(f"→ {remedy}", style="dim" if state == "not checked" else colour))
    Console(highlight=False).print(row)
