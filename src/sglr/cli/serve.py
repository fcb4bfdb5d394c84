"""``sglr serve``: train with clients that join over the network with their own data."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sglr.cli.options import AsJson, Debug, LogJson, Quiet, typed
from sglr.cli.serve_page import PageAt, page_of
from sglr.cli.serve_predictions import (
    AnswerWithin,
    Predict,
    PredictionFlags,
    SamplesPerMinute,
    Segments,
    serve_predictions,
)
from sglr.core.errors import UsageError

if TYPE_CHECKING:
    from sglr.engines.remote.trust.authority import Authority
    from sglr.runs.config import Experiment

PANEL = "Server"

Settings = Annotated[
    Path | None,
    typer.Argument(
        metavar="SETTINGS.toml",
        help="The settings, as for sglr train; flags override them. With --predict the folder of a trained run.",
    ),
]
ListenAt = Annotated[
    str,
    typer.Option(
        "--listen", metavar="<HOST:PORT>", help="Listen here; 0.0.0.0 is every interface.", rich_help_panel=PANEL
    ),
]
Address = Annotated[
    str | None,
    typer.Option(
        "--address",
        metavar="<HOST:PORT>",
        help="The server's address in the join lines; default: --listen, or this machine's name.",
        rich_help_panel=PANEL,
    ),
]
OutFolder = Annotated[
    Path | None,
    typer.Option(
        "--out",
        metavar="<folder>",
        help="The run's folder, with the server's keys; the same command again continues the run.",
        rich_help_panel=PANEL,
        show_default=False,
    ),
]
TokenDays = Annotated[
    float,
    typer.Option("--token-days", metavar="<number>", help="Days that join lines are valid.", rich_help_panel=PANEL),
]
Tokens = Annotated[
    Path | None,
    typer.Option(
        "--tokens",
        metavar="<folder>",
        help="Write join tokens to files in this folder (client-0.token …) instead of printing lines.",
        rich_help_panel=PANEL,
    ),
]
MetricsAt = Annotated[
    str | None,
    typer.Option(
        "--prometheus",
        metavar="<HOST:PORT>",
        help="Serve metrics for Prometheus here, on a loopback address.",
        rich_help_panel=PANEL,
    ),
]

LOOK_SECONDS = 0.5


def serve(
    ctx: typer.Context,
    settings: Settings = None,
    out: OutFolder = None,
    listen: ListenAt = "0.0.0.0:7443",
    address: Address = None,
    token_days: TokenDays = 7.0,
    tokens: Tokens = None,
    prometheus: MetricsAt = None,
    predict: Predict = False,
    samples_per_minute: SamplesPerMinute = 1_000_000,
    answer_within: AnswerWithin = 30.0,
    segments: Segments = None,
    page: PageAt = None,
    as_json: AsJson = False,
    log_json: LogJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Train with clients on other machines, each with its own data.

    Prints a join line for each client that has not joined yet; send each site its line. Training begins
    when all clients have joined, or --min-clients of them. The server's files are in the folder --out.

    Describe data that stay at the sites: --dataset sites --input-shape 1,28,28 --classes 10. For tables use
    --schema FILE, which sglr schema makes.

    With --predict it holds the server's layers of a trained run: sites send smashed data of new samples with sglr
    predict HOST:PORT, and the server answers. It learns no inputs and no labels.
    """
    del debug
    if log_json:
        from sglr.cli.logs import log_json as write_json

        write_json()
    if predict:
        terms = (listen, address, prometheus, token_days, tokens, samples_per_minute, answer_within, segments)
        _refuse_folder(out)
        if page is not None:
            raise UsageError("page", page or "on", "shows a run that trains, and nothing is trained", "leave it out")
        serve_predictions(settings, ctx.obj, PredictionFlags(*terms, as_json, log_json))
        return
    if out is None:
        raise UsageError("out", "none", "the run needs a folder", "give --out FOLDER")
    from sglr.cli.train import read_experiment

    read = read_experiment(settings, _with_data(settings, ctx.obj))
    from sglr.cli.watching import watching
    from sglr.engines.remote.trust.authority import lifetime_of
    from sglr.sites.join_commands import told_address
    from sglr.sites.serve import serve as run_server
    from sglr.sites.serve import served
    from sglr.sites.serve_options import ServeOptions

    _refuse_address(ctx.obj.get("metrics") or ())
    lifetime = lifetime_of("token_days", token_days)
    experiment = served(read)
    inform = _Informer(experiment, out, told_address(listen, address), lifetime, tokens)
    # While a bar is live, rich replaces the streams by its own, which break long lines.
    file = sys.stderr if as_json else sys.stdout
    shared = file.isatty()
    with page_of(page, out, file), watching(quiet, log_json) as watch, _showing_who_joins(out, watch.wait):
        above = watch.above if shared else None
        inform.write = None if log_json else above or (lambda text: print(text, file=file, flush=True))
        run = run_server(
            experiment,
            out,
            ServeOptions(listen, prometheus, inform.opened),
            observe=watch.observe,
            stop=watch.stop,
            say=lambda text: print(text, file=sys.stderr),
            command=typed(ctx),
        )
    from sglr.cli.result import print_result

    print_result(run, as_json)


def _with_data(settings: Path | None, flags: dict[str, Any]) -> dict[str, Any]:
    """Set the data set to ``sites`` if a schema but no data set is given: a server usually has no data."""
    from sglr.runs.config import read_toml

    told = flags.keys() | (read_toml(settings).keys() if settings else set())
    return {"dataset": "sites", **flags} if "schema" in told and "dataset" not in told else flags


def _refuse_folder(out: Path | None) -> None:
    if out is not None:
        problem = "is for a run that is trained, and the folder of a trained one is given without it"
        raise UsageError("out", out, problem, "leave it out: sglr serve RUN --predict")


def _refuse_address(metrics: Sequence[str]) -> None:
    """Refuse an address for Prometheus, which the flag took in sglr 0.1, in place of names of scores."""
    for name in metrics:
        if name.rpartition(":")[2].isdigit():
            problem = "is an address, and these are names of scores"
            raise UsageError("metrics", name, problem, f"to serve figures for Prometheus, give --prometheus {name}")


class _Informer:
    """Print what the operator sends to the sites, once the server listens."""

    def __init__(
        self, experiment: Experiment, out: Path, address: str, lifetime: timedelta, tokens: Path | None
    ) -> None:
        self._experiment, self._out, self._address = experiment, out, address
        self._lifetime, self._tokens = lifetime, tokens
        self.write: Callable[[str], None] | None = print

    def opened(self, port: int, authority: Authority) -> None:
        """Write tokens, or print lines; never to a log."""
        from sglr.sites.join_commands import keep_address, missing, new_lines, number_of_clients, write_tokens

        del port
        keep_address(self._out, self._address)
        clients = missing(authority, self._experiment)
        there = number_of_clients(self._experiment) - len(clients)
        log = logging.getLogger("sglr.sites")
        log.info("listening for clients, as %s", self._address, extra={"event": "listening"})
        if self._tokens is not None:
            paths = write_tokens(authority, clients, self._lifetime, self._tokens)
            log.info("wrote %d join tokens to %s", len(paths), self._tokens, extra={"event": "tokens"})
        elif self.write is None:
            if clients:
                names = ", ".join(map(str, clients[:20]))
                log.info("sglr token %s --client N makes lines for clients that have not joined: %s", self._out, names)
        else:
            lines = new_lines(authority, self._experiment, self._address, clients, self._lifetime)
            self._print(self.write, list(lines.values()), there)

    def _print(self, write: Callable[[str], None], lines: list[str], there: int) -> None:
        from sglr.sites.join_commands import PATH

        returning = f" {there} clients have joined before and reconnect by themselves." if there else ""
        told = [f"Listening as {self._address}.{returning}"]
        if lines:
            days = self._lifetime.total_seconds() / 86400
            told += [f"Send each site its line; it is valid once, for {days:g} days:", "", *lines, ""]
        if any(f"--data {PATH}" in text for text in lines):
            told += [
                f"{PATH} is the site's data: a folder with a subfolder of pictures per class, a CSV or",
                "Parquet file, or IDX files; or what the run's schema says (texts, recordings …).",
                "",
            ]
        write("\n".join(told))


@contextmanager
def _showing_who_joins(out: Path, show: Callable[[str], None]) -> Iterator[None]:
    """Show for which clients the server waits, from its status."""
    over = threading.Event()

    def look() -> None:
        before = None
        while not over.wait(LOOK_SECONDS):
            text = waiting_line(out)
            if text != before:
                show(text)
            before = text

    thread = threading.Thread(target=look, name="sglr-joining", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def waiting_line(out: Path) -> str:
    """Return for which clients a server waits, in one line; empty if it does not wait or has no status."""
    from sglr.core.errors import NotRead
    from sglr.runs.folder import STATUS
    from sglr.storage.json_files import read_object

    try:
        status = read_object(out / STATUS) or {}
        if status["state"] != "waiting":
            return ""
        states = {one["client"]: one["state"] for one in status["clients"]}
    except (NotRead, ValueError, KeyError, TypeError):
        return ""
    missing = [str(client) for client, state in states.items() if state in ("never", "away")]
    if not missing:
        return str(status.get("why", ""))
    names = ", ".join(missing[:8]) + (" …" if len(missing) > 8 else "")
    return f"{len(states) - len(missing)} of {len(states)} clients are here; waiting for {names}"
