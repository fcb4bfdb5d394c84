"""``sglr token`` and ``sglr revoke``: let a client in anew, or no longer."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from sglr.cli.options import Debug

ServedRun = Annotated[Path, typer.Argument(metavar="DIR", help="The server's folder: the --out of sglr serve.")]
Client = Annotated[int, typer.Option("--client", metavar="<int>", help="Number of the client.", show_default=False)]
Days = Annotated[float, typer.Option("--days", metavar="<number>", help="Days that the line counts.")]
Address = Annotated[
    str | None,
    typer.Option(
        "--address", metavar="<HOST:PORT>", help="How the client reaches the server; default: as at its start."
    ),
]
TokenOnly = Annotated[
    bool, typer.Option("--token-only", metavar="", help="Print the token alone, to be kept in a file.")
]


def token(
    run: ServedRun,
    client: Client,
    days: Days = 7.0,
    address: Address = None,
    token_only: TokenOnly = False,
    debug: Debug = False,
) -> None:
    """Print a new join line for a client: the first was lost, or it moves to another machine.

    The client's old certificate ends when the new line is used, not before. Pasted with --out and its old folder, the
    client goes on with what it had.
    """
    del debug
    from sglr.sites.join_commands import renew

    words = renew(run, client, address, timedelta(days=days))
    print(words.split()[words.split().index("--token") + 1] if token_only else words)


def revoke(run: ServedRun, client: Client, debug: Debug = False) -> None:
    """No longer let a client in: its certificate and its unused join lines end at once.

    A server that runs closes the client's connection within seconds. sglr token lets it in anew.
    """
    del debug
    from sglr.sites.join_commands import revoke as end

    ended = end(run, client)
    what = "had nothing that counted" if not ended else f"is no longer let in ({ended} ended)"
    print(f"client {client} {what}; a new line: sglr token {run} --client {client}")
