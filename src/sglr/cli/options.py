"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sglr.core.errors import UsageError

PANEL = "Output"

Out = Annotated[
    Path | None,
    typer.Option(
        "--out", metavar="<folder>", help="Write into this folder; default: a new one in runs/.", rich_help_panel=PANEL
    ),
]
AsJson = Annotated[
    bool, typer.Option("--json", metavar="", help="Print JSON on standard output.", rich_help_panel=PANEL)
]
Quiet = Annotated[bool, typer.Option("--quiet", metavar="", help="Show no progress.", rich_help_panel=PANEL)]
LogJson = Annotated[
    bool,
    typer.Option("--log-json", metavar="", help="Log to standard error as JSON lines.", rich_help_panel=PANEL),
]
Debug = Annotated[
    bool, typer.Option("--debug", metavar="", help="Show the traceback of an error.", rich_help_panel=PANEL)
]
Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="<file>",
        help="Read settings from a TOML file; flags override it.",
        rich_help_panel="Settings",
    ),
]
OwnTask = Annotated[
    str | None,
    typer.Option(
        "--task",
        metavar="<package.module:Name>",
        help="The code of the run's own task, if it is not installed.",
        show_default=False,
    ),
]
OwnMetrics = Annotated[
    str | None,
    typer.Option(
        "--metrics",
        metavar="<package.module:Name,…>",
        help="The code of the run's own metrics, if it is not installed.",
        show_default=False,
    ),
]
OwnModel = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="<package.module:function>",
        help="The code of the run's own model, if it is not installed: code that only the run's folder names is "
        "not run.",
        show_default=False,
    ),
]
Track = Annotated[
    str | None,
    typer.Option(
        "--track",
        metavar="<text>",
        help="The trackers that are told, if not those of the run's settings; none is none.",
        show_default=False,
    ),
]
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="Folder of the run.")]


def read_token(text: str) -> str:
    """Return a join token; for ``@FILE`` the one in that file, which keeps it out of the process list.

    Raises
    ------
    UsageError
        If there is no such file.
    """
    if not text.startswith("@"):
        return text
    path = Path(text[1:])
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            "token", text, f"cannot be read ({error})", "give @ and the name of a file with a join token"
        ) from error


def typed(ctx: typer.Context) -> str:
    """Return the command line as typed."""
    return str(ctx.find_root().obj or "")
