"""``sglr predict HOST:PORT``: predict at a site, with the client's layers here and the server's there."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sglr.cli.options import read_token
from sglr.core.errors import UsageError

if TYPE_CHECKING:
    from sglr.sites.site_network import SiteNetwork

PANEL = "At a site (HOST:PORT)"

DataOption = Annotated[
    str | None,
    typer.Option("--data", metavar="<path>", help="The same as DATA.", show_default=False, rich_help_panel=PANEL),
]
Token = Annotated[
    str | None,
    typer.Option(
        "--token",
        metavar="<text>",
        help="Your join token, or @FILE that contains it, if you have not joined this server before.",
        show_default=False,
        rich_help_panel=PANEL,
    ),
]
Folder = Annotated[
    Path | None,
    typer.Option(
        "--folder",
        metavar="<folder>",
        help="Your folder as a client (the --out of sglr join), with your certificate and your layers; a token makes "
        "it, by default in sites/.",
        show_default=False,
        rich_help_panel=PANEL,
    ),
]
FromRun = Annotated[
    Path | None,
    typer.Option(
        "--run",
        metavar="<folder>",
        help="Take the client's layers from the folder of the run, if it was trained in one place; --client says "
        "whose.",
        show_default=False,
        rich_help_panel=PANEL,
    ),
]
Timeout = Annotated[
    float,
    typer.Option(
        "--timeout", metavar="<seconds>", help="Longest wait for the answer to a request.", rich_help_panel=PANEL
    ),
]
RequireDefence = Annotated[
    str,
    typer.Option(
        "--require-defence",
        metavar="<text>",
        help="Predict only if the run has these defences with these options, as for sglr join.",
        rich_help_panel=PANEL,
    ),
]
Device = Annotated[str, typer.Option("--device", metavar="<text>", help="auto, cpu or cuda.", rich_help_panel=PANEL)]


@dataclass(frozen=True)
class SplitFlags:
    """The options for a site, as typed.

    Parameters
    ----------
    token, folder, run, timeout, require_defence, device
        As their help says.
    """

    token: str | None = None
    folder: Path | None = None
    run: Path | None = None
    timeout: float = 30.0
    require_defence: str = "none"
    device: str = "auto"

    def refuse(self) -> None:
        """Refuse options that say nothing of a run folder.

        Raises
        ------
        UsageError
            If one was given.
        """
        for name, value in vars(self).items():
            if value != getattr(SplitFlags, name, None):
                problem = "is for a site, and the folder of a run was given"
                raise UsageError(name, value, problem, "leave it out, or give the server's HOST:PORT instead of RUN")


def is_address(place: str) -> bool:
    """Return whether a text is the address of a server rather than a folder."""
    return place.rpartition(":")[2].isdigit() and ":" in place and not Path(place).is_dir()


def connected(
    address: str, flags: SplitFlags, client: str | None, segment: Path | None, model: str | None, task: str | None
) -> SiteNetwork:
    """Connect to a server.

    Raises
    ------
    UsageError
        If an option is wrong.
    SglrError
        If the server can't be reached, or refuses.
    """
    from sglr.sites.client_weights import WeightSource
    from sglr.sites.connect import SiteOptions, connect
    from sglr.sites.requirements import SiteRequirements

    weights = WeightSource(segment, flags.run, _number(client))
    terms = SiteRequirements(flags.require_defence)
    options = SiteOptions(weights, model, task, flags.device, flags.timeout, terms)
    token = None if flags.token is None else read_token(flags.token)
    return connect(address, token, flags.folder, options, lambda line: print(line, file=sys.stderr, flush=True))


def _number(client: str | None) -> int | None:
    if client is None:
        return None
    if client in ("average", "each"):
        problem = "the layers of the other clients are not at this site"
        remedy = "leave it out, or ask in the place where the run's folder has all: give RUN instead of HOST:PORT"
        raise UsageError("client", client, problem, remedy)
    if client == "shared":
        problem = "is what a site uses by itself where all clients have the same layers"
        raise UsageError("client", client, problem, "leave it out")
    if not client.isdecimal():
        raise UsageError("client", client, "is no client", "give a client's number from 0, with --run")
    return int(client)
