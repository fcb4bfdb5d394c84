"""``sglr status``: the state of a run between sites, and which clients are connected or slow."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sglr.cli.options import AsJson, Debug
from sglr.core.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Group
    from rich.text import Text

Place = Annotated[str, typer.Argument(metavar="DIR|HOST:PORT", help="The server's folder (its --out), or its address.")]
Folder = Annotated[
    Path | None,
    typer.Option(
        "--folder", metavar="<folder>", help="Your folder as a client (the --out of sglr join), to ask HOST:PORT with."
    ),
]
Watch = Annotated[bool, typer.Option("--watch", metavar="", help="Keep showing it until the run has ended.")]

COLOURS = {"here": "green", "late": "yellow", "away": "yellow", "out": "red", "never": "dim"}
HEADINGS = ("client", "state", "samples", "answers in", "round trip", "sent", "received", "")
SECONDS = 1.0


def status(
    place: Place, folder: Folder = None, watch: Watch = False, as_json: AsJson = False, debug: Debug = False
) -> int:
    """Show the state of a run between sites: step, rates, and its clients.

    On the server's machine give its folder; on a client's machine the server's address and the folder of sglr join.

    The exit code is 1 if the server died: the run has not ended, but the status was not updated for ten seconds.
    """
    del debug
    from sglr.runs.folder import damage_explained

    with damage_explained(Path(place), "ask the server's operator"):
        return _status(_reader(place, folder), watch, as_json)


def _status(read: Any, watch: bool, as_json: bool) -> int:
    from sglr.sites.status import is_stale

    if watch and not as_json:
        return int(is_stale(_watch(read)))
    found = read()
    if as_json:
        print(json.dumps(found, indent=2))
    else:
        from rich.console import Console

        Console(highlight=False).print(screen(found))
    return int(is_stale(found))


def _reader(place: str, folder: Path | None) -> Any:
    from sglr.sites.status import ask_status, read_status

    if Path(place).is_dir():
        return lambda: read_status(Path(place))
    if ":" not in place:
        raise UsageError("place", place, "there is no such folder", "give the server's folder, or its HOST:PORT")
    if folder is None:
        problem = "the server answers only clients that have joined"
        raise UsageError("folder", "none", problem, "give your folder as a client with --folder")
    return lambda: ask_status(place, folder)


def _watch(read: Any) -> Mapping[str, Any]:
    """Show the status until the run has ended or Ctrl-C; return the last status."""
    from rich.console import Console
    from rich.live import Live

    from sglr.sites.status import OVER

    # So far Ctrl-C ended the process at once; a live screen must first restore the terminal.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    console = Console(highlight=False)
    shown: Mapping[str, Any] = read()
    with Live(screen(shown), console=console, auto_refresh=False) as live:
        try:
            while shown.get("state") not in OVER:
                time.sleep(SECONDS)
                shown = read()
                live.update(screen(shown), refresh=True)
        except KeyboardInterrupt:
            pass
    return shown


def screen(status: Mapping[str, Any]) -> Group:
    """Return a status for display: the state of the run, and a row per client."""
    from rich.console import Group
    from rich.text import Text

    from sglr.cli.screens import facts, table
    from sglr.sites.status import slow_clients

    clients = status["clients"]
    slow = slow_clients(clients)
    rows = table(HEADINGS, [])
    rows.columns[0].no_wrap = True
    rows.columns[1].justify = rows.columns[-1].justify = "left"
    rows.columns[-1].no_wrap = False
    for client in clients:
        rows.add_row(*_cells(client, client["client"] in slow))
    return Group(facts(f"run {str(status.get('run', ''))[:12]}", _facts(status)), Text(), rows)


def _facts(status: Mapping[str, Any]) -> dict[str, str]:
    from sglr.report.numbers import count
    from sglr.sites.status import is_stale

    clients = status["clients"]
    why = status.get("why") or ""
    state = "not running: the status is out of date" if is_stale(status) else str(status.get("state", "?"))
    if why and not is_stale(status):
        state = why if why.startswith(state) else f"{state}: {why}"
    found = {"state": state}
    if status.get("epochs"):
        step = f", step {status['step']} of {status['steps']}" if status.get("steps") else ""
        found["epoch"] = f"{status.get('epoch', 0)} of {status['epochs']}{step}"
    if status.get("samples_per_second"):
        found["speed"] = f"{count(status['samples_per_second'])} samples/s"
    here = sum(client.get("state") in ("here", "late") for client in clients)
    return found | {"clients": f"{here} of {len(clients)} here"}


def _cells(client: Mapping[str, Any], slow: bool) -> list[str | Text]:
    from rich.text import Text

    from sglr.report.numbers import count, size

    state = str(client.get("state", "?"))
    return [
        str(client["client"]),
        Text(state, style=COLOURS.get(state, "")),
        count(client["samples"]) if client.get("samples") else "",
        _milliseconds(client.get("answer_ms")),
        _milliseconds(client.get("round_trip_ms")),
        size(client.get("up_bytes") or 0),
        size(client.get("down_bytes") or 0),
        Text("; ".join(_remarks(client, slow)), style="yellow" if slow else "dim"),
    ]


def _remarks(client: Mapping[str, Any], slow: bool) -> list[str]:
    misses, rejected, extreme = client.get("misses"), client.get("rejected"), client.get("extreme")
    found = ["slow: other clients wait for it"] if slow else []
    found += [str(client["reason"])] if client.get("reason") else []
    found += [f"missed {misses} deadlines in a row"] if misses else []
    if extreme:
        found += [f"absent{f' {extreme} times in a row' if extreme > 1 else ''}: {client.get('remark')}"]
    return found + ([f"{rejected} rejected"] if rejected else [])


def _milliseconds(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.1f} ms" if value < 100 else f"{value:,.0f} ms" if value < 10_000 else f"{value / 1e3:,.1f} s"
