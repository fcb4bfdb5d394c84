"""``sglr serve --page``: the page of a run between sites, in a process beside the server."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import zip_longest
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer

from sglr.cli.settings import SettingsCommand
from sglr.system.extras import require

PageAt = Annotated[
    str | None,
    typer.Option(
        "--page",
        metavar="<HOST:PORT>",
        help="Show the run on a page in the browser, as sglr watch does; alone: at 127.0.0.1:8765, or any free port.",
        rich_help_panel="Server",
        show_default=False,
    ),
]

ANY_PAGE = ""
"""What ``--page`` alone means."""


class ServeCommand(SettingsCommand):
    """``sglr serve``: its ``--page`` needs no value."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Give ``--page`` the usual address where none follows."""
        return super().parse_args(ctx, with_page(args))


def with_page(args: Sequence[str]) -> list[str]:
    """Return arguments in which ``--page`` has a value: an empty one where no ``HOST:PORT`` follows."""
    found = []
    for word, after in zip_longest(args, args[1:], fillvalue=""):
        bare = word == "--page" and not after.rpartition(":")[2].isdigit()
        found.append(f"--page={ANY_PAGE}" if bare else word)
    return found


@contextmanager
def page_of(address: str | None, out: Path, file: TextIO) -> Iterator[None]:
    """Show the run on a page while it trains, if that is wanted."""
    if address is None:
        yield
        return
    from sglr.cli.watch import listening

    require("watch", "page", address or "on")
    taken = listening("page", address or None)
    from sglr.live.beside import page_beside

    with page_beside(out, taken) as told:
        print(f"page    {told}", file=file, flush=True)
        yield
