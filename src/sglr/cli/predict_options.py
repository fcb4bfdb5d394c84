"""Options of ``sglr predict`` and ``sglr evaluate``: which network answers, about what, and where answers go."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

PANEL = "Network"

Data = Annotated[
    str | None,
    typer.Argument(
        metavar="DATA",
        help="New data: a table, a folder of pictures, arrays, or other data by kind and path, such as audio:PATH. "
        "They are read as the training data were.",
        show_default=False,
    ),
]
RunOrServer = Annotated[
    str, typer.Argument(metavar="RUN|HOST:PORT", help="Folder of the run, or the address of a server that predicts.")
]
Client = Annotated[
    str | None,
    typer.Option(
        "--client",
        metavar="<number>|shared|average",
        help="Whose lower layers answer; default: those that clients share, else the average of all clients' outputs.",
        show_default=False,
        rich_help_panel=PANEL,
    ),
]
ClientOrEach = Annotated[
    str | None,
    typer.Option(
        "--client",
        metavar="<number>|shared|average|each",
        help="Whose lower layers answer; each scores every client, as the summary does; default: those that clients "
        "share, else the average of all clients' outputs.",
        show_default=False,
        rich_help_panel=PANEL,
    ),
]
Segment = Annotated[
    Path | None,
    typer.Option(
        "--segment",
        metavar="<file>",
        help="segment.safetensors of the client's own folder, where it trained on a machine of its own.",
        show_default=False,
        rich_help_panel=PANEL,
    ),
]
Head = Annotated[
    bool,
    typer.Option(
        "--head",
        help="Have clients' heads answer, without the server, where clients have them; at a site, nothing is sent.",
        rich_help_panel=PANEL,
    ),
]
HeadEntropy = Annotated[
    float | None,
    typer.Option(
        "--head-entropy",
        metavar="<float>",
        help="Have clients' heads answer where the entropy of their softmax is at most this, and the server elsewhere; "
        "at a site, only these others are sent.",
        show_default=False,
        rich_help_panel=PANEL,
    ),
]
BatchSize = Annotated[
    int | None,
    typer.Option("--batch-size", metavar="<int>", min=1, help="Samples at a time.", show_default=False),
]
IdColumn = Annotated[
    str,
    typer.Option(
        "--id-column", metavar="<name>", help="The column of a table that names its rows.", show_default=False
    ),
]
DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", metavar="<folder>", help="Folder of named data sets.", show_default=False),
]
OutFile = Annotated[
    Path | None,
    typer.Option(
        "--out",
        metavar="<file>",
        help="Write predictions there: .parquet, .csv, .jsonl or .npz; default: print them.",
        show_default=False,
        rich_help_panel="Output",
    ),
]
OutFolder = Annotated[
    Path | None,
    typer.Option(
        "--out",
        metavar="<folder>",
        help="Write evaluation.json and evaluation.html into this folder.",
        show_default=False,
        rich_help_panel="Output",
    ),
]
