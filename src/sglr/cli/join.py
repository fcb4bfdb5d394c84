"""``sglr join``: train with your own data in a run on a remote server."""

from __future__ import annotations

import os
import re
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sglr.cli.options import Debug, LogJson, Quiet, read_token
from sglr.core.errors import UsageError

if TYPE_CHECKING:
    from sglr.sites.own_data import Source

PARENT = "SGLR_PARENT"
"""Environment variable with the id of the parent process; when that process ends, this one ends."""

_DATA, _TERMS, _MACHINE = "Your data", "Your terms", "Your machine"


def _option(flag: str, placeholder: str, panel: str | None, about: str) -> Any:
    return typer.Option(flag, metavar=f"<{placeholder}>", help=about, rich_help_panel=panel, show_default=False)


Address = Annotated[str, typer.Argument(metavar="HOST:PORT", help="Where the server listens.")]
Tokens = Annotated[
    list[str] | None,
    _option(
        "--token",
        "text",
        None,
        "The join token that the server's operator sent you, or @FILE that contains it; it is valid once.",
    ),
]
Out = Annotated[
    Path | None,
    _option(
        "--out",
        "folder",
        None,
        "Keep your key, certificate and snapshots here; default: sites/ and the token's id. With this folder you don't "
        "need the token again.",
    ),
]
Data = Annotated[
    Path | None,
    _option(
        "--data",
        "path",
        _DATA,
        "A folder with a subfolder of pictures per class, a table (.csv, .tsv, .parquet), or IDX files (their folder); "
        "or what the run's schema says, such as texts or recordings",
    ),
]
DatasetName = Annotated[
    str | None,
    _option("--dataset", "name", _DATA, "A named data set (sglr list datasets), instead of --data"),
]
Partition = Annotated[
    str | None, _option("--partition", "I/N", _DATA, "Your part of that data set, such as 0/5; must match the token")
]
DataDir = Annotated[Path | None, _option("--data-dir", "path", _DATA, "Folder with the files of named data sets")]
Check = Annotated[
    bool,
    typer.Option(
        "--check",
        metavar="",
        help="Print what would be read of your data and what would be sent, and exit without joining",
        rich_help_panel=_DATA,
    ),
]
Model = Annotated[
    str | None,
    _option("--model", "package.module:function", _MACHINE, "Your copy of the run's model, if it is not one of sglr's"),
]
Task = Annotated[
    str | None,
    _option("--task", "package.module:Name", _MACHINE, "Your copy of the run's task, if it is not one of sglr's"),
]
RequireDefence = Annotated[
    str,
    _option(
        "--require-defence",
        "text",
        _TERMS,
        "Take part only if the run has these defences with these options, such as clip:norm=5+noise:sigma=0.5",
    ),
]
KeepLabels = Annotated[
    bool,
    typer.Option(
        "--keep-labels",
        metavar="",
        help="Take part only if labels stay here: in a run with --tail, or one of federated learning, whose "
        "held-out samples are then evaluated here",
        rich_help_panel=_TERMS,
    ),
]
Device = Annotated[str, _option("--device", "text", _MACHINE, "auto, cpu or cuda; default: auto")]
Threads = Annotated[int | None, _option("--threads", "int", _MACHINE, "CPU threads; default: torch's own choice")]
LinkOption = Annotated[
    str | None,
    _option(
        "--link",
        "text",
        _MACHINE,
        "Make the connection as slow as a network, such as rtt=100ms,rate=20Mbit; default: as the run says",
    ),
]
Processes = Annotated[
    int | None,
    _option(
        "--processes",
        "number",
        _MACHINE,
        "Share the clients of several tokens out over so many processes; default: one per core (on Linux; elsewhere 1)",
    ),
]
Patience = Annotated[
    float,
    _option("--patience", "seconds", _MACHINE, "Give up after the server was unreachable for this long; default: 3600"),
]


def join(
    ctx: typer.Context,
    address: Address,
    token: Tokens = None,
    out: Out = None,
    data: Data = None,
    dataset: DatasetName = None,
    partition: Partition = None,
    data_dir: DataDir = None,
    check: Check = False,
    model: Model = None,
    task: Task = None,
    require_defence: RequireDefence = "none",
    keep_labels: KeepLabels = False,
    device: Device = "auto",
    threads: Threads = None,
    link: LinkOption = None,
    processes: Processes = None,
    patience: Patience = 3600.0,
    log_json: LogJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Train with your own data in a run on a remote server.

    Paste the line that the server's operator sent you, with the path of your data. Your data and your segment of the
    network stay here; activations at the cut and, unless the run keeps them with you, labels go to the server.

    Add --check first: it prints what would be read and what would be sent, without joining.

    After a crash, the same line continues. Ctrl-C leaves the run; the same line rejoins it.
    """
    del debug
    from sglr.cli.logs import log_json as write_json
    from sglr.cli.watching import leaving
    from sglr.sites.build_client import SiteConfig
    from sglr.sites.check import what_is_read
    from sglr.sites.join import join as take_part
    from sglr.sites.join_processes import processes_for
    from sglr.sites.requirements import SiteRequirements

    source = _source(data, dataset, partition, data_dir, ctx.obj)
    requirements = SiteRequirements(require_defence, keep_labels)
    if log_json:
        write_json()
    say = _say(quiet, log_json)
    site = SiteConfig(source, model, device, threads, requirements, task, link)
    if check:
        for line in what_is_read(address, [*map(read_token, token or [])], site, out):
            print(line)
        return
    shared = processes_for(len(token or []), processes)
    with leaving(log_json) as stop:
        _end_with_parent()
        ends = take_part(
            address,
            [*map(read_token, token or [])],
            site,
            out,
            patience=patience,
            say=say,
            stop=stop,
            processes=shared,
        )
    say("the training is over" if ends and all(ends) else "left the run; run the same command to rejoin")


def _source(
    data: Path | None, dataset: str | None, partition: str | None, data_dir: Path | None, parameters: dict[str, Any]
) -> Source:
    from sglr.sites.own_data import Source

    return Source(data, dataset, None if partition is None else read_share(partition), parameters, data_dir)


def read_share(text: str) -> tuple[int, int]:
    """Read ``0/5`` as the first of five parts.

    Raises
    ------
    UsageError
        If it is not of this form.
    """
    found = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text)
    if found is None or int(found[1]) >= int(found[2]):
        raise UsageError("partition", text, "not a part of a data set", "write it like 0/5, the first of five")
    return int(found[1]), int(found[2])


def _say(quiet: bool, log_json: bool) -> Callable[[str], None]:
    if log_json:
        import logging

        return logging.getLogger("sglr.sites").info
    if quiet:
        return lambda _: None
    return lambda line: print(line, file=sys.stderr, flush=True)


def _end_with_parent() -> None:
    """End when the parent process has ended, if this client was started by it on the same machine."""
    parent = os.environ.get(PARENT)
    if parent is None:
        return

    def watch() -> None:
        while str(os.getppid()) == parent:
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=watch, name="sglr-parent", daemon=True).start()
