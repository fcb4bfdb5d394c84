"""``sglr token`` and ``sglr revoke``: give a client a new join line, or revoke its access."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sglr.cli.options import Debug

ServedRun = Annotated[Path, typer.Argument(metavar="DIR", help="The server's folder: the --out of sglr serve.")]
Client = Annotated[int, typer.Option("--client", metavar="<int>", help="Number of the client.", show_default=False)]
Days = Annotated[float, typer.Option("--days", metavar="<number>", help="Days for which the line is valid.")]
Address = Annotated[
    str | None,
    typer.Option(
        "--address", metavar="<HOST:PORT>", help="The server's address for the client; default: as at its start."
    ),
]
TokenOnly = Annotated[
    bool, typer.Option("--token-only", metavar="", help="Print only the token, to save it in a file.")
]


def token(
    run: ServedRun,
    client: Client,
    days: Days = 7.0,
    address: Address = None,
    token_only: TokenOnly = False,
    debug: Debug = False,
) -> None:
    """Print a new join line for a client, if the first was lost or the client moves to another machine.

    The client's old certificate is valid until the new line is used. With --out and its old folder, the
    client keeps its state.
    """
    del debug
    from sglr.engines.remote.trust.authority import lifetime_of
    from sglr.sites.join_commands import renew

    words = renew(run, client, address, lifetime_of("days", days))
    print(words.split()[words.split().index("--token") + 1] if token_only else words)


def revoke(run: ServedRun, client: Client, debug: Debug = False) -> None:
    """Revoke a client's certificate and its unused join lines at once.

    A running server closes the client's connection within seconds. sglr token gives it access again.
    """
    del debug
    from sglr.sites.join_commands import revoke as end

    ended = end(run, client)
    what = "had no valid credentials" if not ended else f"has no access any more ({ended} revoked)"
    print(f"client {client} {what}; a new line: sglr token {run} --client {client}")
