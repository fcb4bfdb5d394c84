"""``sglr watch``: a page in the browser that shows runs while they train."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sglr.cli.options import AsJson, Debug
from sglr.core.errors import UsageError
from sglr.system.extras import require

if TYPE_CHECKING:
    import socket

    from sglr.live.view import View

Place = Annotated[
    str,
    typer.Argument(
        metavar="RUN|HOST:PORT",
        help="Folder of a run, finished or not, or of several runs: a comparison, a sweep, runs; or the address of a "
        "server between sites.",
    ),
]
ListenAt = Annotated[
    str | None,
    typer.Option(
        "--listen",
        metavar="<HOST:PORT>",
        help="Show the page here; default: 127.0.0.1:8765, or the next free port. Addresses that other machines reach "
        "need the token that is printed.",
        show_default=False,
    ),
]
Folder = Annotated[
    Path | None,
    typer.Option(
        "--folder", metavar="<folder>", help="Your folder as a client (the --out of sglr join), to ask HOST:PORT with."
    ),
]
Open = Annotated[bool, typer.Option("--open", metavar="", help="Open the page in the browser of this machine.")]

DEFAULT = "127.0.0.1:8765"


def watch(
    place: Place,
    listen: ListenAt = None,
    folder: Folder = None,
    open_page: Open = False,
    as_json: AsJson = False,
    debug: Debug = False,
) -> int:
    """Show a run, or all runs in a folder, on a page in the browser that follows them as they train.

    The page shows curves, clients, bytes and costs, and stops a run on request: with a checkpoint, as Ctrl-C does. It
    reads the run's folder from this process, so that training isn't slowed. In a terminal, sglr status --watch shows
    the clients of a run between sites.

    With --json it prints once what the page would show.
    """
    del debug
    view = _view(place, folder)
    if as_json:
        print(json.dumps(view.read(), indent=2, allow_nan=False))
        return 0
    require("watch", "watch", place)
    return _show(view, listening("listen", listen), open_page)


def _show(view: View, listening: socket.socket, open_page: bool) -> int:
    from sglr.live.access import new_token
    from sglr.live.server import PageServer

    server = PageServer(view, listening, new_token())
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), server.end)
    print(f"page    {server.access.address}", flush=True)
    print("Ctrl-C ends the page, and not the run.", file=sys.stderr, flush=True)
    if open_page:
        import webbrowser

        webbrowser.open(server.access.address)
    server.show()
    return 0


def listening(field: str, address: str | None) -> socket.socket:
    """Return a socket at ``HOST:PORT``; without an address at the usual one, or at any port if that is taken.

    Raises
    ------
    UsageError
        If the address can't be read, or is taken.
    """
    from sglr.live.address import parse_listen
    from sglr.live.server import bind

    host, port = parse_listen(field, address or DEFAULT)
    return bind(host, port, field, or_any=address is None)


def _view(place: str, folder: Path | None) -> View:
    path = Path(place)
    if path.is_dir():
        return _folder_view(path)
    if ":" not in place:
        raise UsageError("place", place, "there is no such folder", "give the folder of a run, or a server's HOST:PORT")
    from sglr.live.server_view import ServerView

    if folder is None:
        problem = "the server answers only clients that have joined"
        raise UsageError("folder", "none", problem, "give your folder as a client with --folder")
    view = ServerView(place, folder)
    view.ask()
    return view


def _folder_view(path: Path) -> View:
    from sglr.live.folder_view import FolderView, find_runs
    from sglr.live.run_view import RunView
    from sglr.runs.folder import CONFIG, STATUS
    from sglr.storage.files import is_file

    if is_file(path / CONFIG) or is_file(path / STATUS):
        return RunView(path)
    if next(find_runs(path), None) is None:
        problem = "is no run, and holds none"
        raise UsageError("place", path, problem, "give the folder of a run, a comparison or a sweep")
    return FolderView(path)
