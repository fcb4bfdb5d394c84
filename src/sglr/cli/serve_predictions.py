"""``sglr serve RUN --predict``: answer predictions of a trained run."""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sglr.core.errors import UsageError

if TYPE_CHECKING:
    from sglr.engines.remote.trust.authority import Authority
    from sglr.sites.served_network import ServedRunParts

PANEL = "Predictions"

Predict = Annotated[
    bool,
    typer.Option(
        "--predict",
        metavar="",
        help="Train nothing: answer predictions of the trained run whose folder is given.",
        rich_help_panel=PANEL,
    ),
]
SamplesPerMinute = Annotated[
    int,
    typer.Option(
        "--samples-per-minute",
        metavar="<int>",
        min=512,  # a request may have so many, and would never be answered
        help="Samples that each client may ask about in a minute.",
        rich_help_panel=PANEL,
    ),
]
AnswerWithin = Annotated[
    float,
    typer.Option(
        "--answer-within",
        metavar="<seconds>",
        help="Refuse a request that was not answered within this time.",
        rich_help_panel=PANEL,
    ),
]
Segments = Annotated[
    Path | None,
    typer.Option(
        "--segments",
        metavar="<folder>",
        help="Write the weights of each client's layers to files in this folder (client-0.safetensors …), one for each "
        "site, where the run was trained in one place.",
        rich_help_panel=PANEL,
    ),
]

TAKEN = ("model", "task", "device", "threads")
"""Settings that count where nothing is trained."""


@dataclass(frozen=True)
class PredictionFlags:
    """The options of the command, as typed.

    Parameters
    ----------
    listen, address, prometheus
        Addresses.
    token_days, tokens
        How long tokens are valid, and the folder for them.
    samples_per_minute, answer_within, segments
        As their help says.
    as_json, log_json
        How to write.
    """

    listen: str
    address: str | None
    prometheus: str | None
    token_days: float
    tokens: Path | None
    samples_per_minute: int
    answer_within: float
    segments: Path | None
    as_json: bool
    log_json: bool


def serve_predictions(folder: Path | None, settings: dict[str, Any], flags: PredictionFlags) -> None:
    """Answer predictions of a run until Ctrl-C; open requests are answered still.

    Raises
    ------
    UsageError
        If no run is given, or a setting that only trainings have.
    """
    if folder is None:
        raise UsageError("run", "none", "there is no run to predict with", "give its folder: sglr serve RUN --predict")
    for name in settings.keys() - set(TAKEN):
        problem = "is a setting of a training, and the run is trained"
        raise UsageError(name, settings[name], problem, "leave it out, or leave out --predict")
    if not 0 < flags.answer_within < float("inf"):
        raise UsageError("answer_within", flags.answer_within, "is no time to answer in", "give more than 0 seconds")
    _serve(folder, settings, flags)


def _serve(folder: Path, settings: dict[str, Any], flags: PredictionFlags) -> None:
    from sglr.cli.watching import draining
    from sglr.engines.remote.server.predictions import PredictionLimits
    from sglr.runs.config import Experiment
    from sglr.sites.join_commands import told_address
    from sglr.sites.serve_predictions import PredictionOptions, serve_predictions
    from sglr.sites.served_network import served_network

    told_address(flags.listen, flags.address)
    machine = Experiment.from_flat({name: settings[name] for name in ("device", "threads") if name in settings})
    own = {name: settings.get(name) for name in ("model", "task")}
    parts = served_network(folder, **own, device=machine.device, threads=machine.threads)
    limits = PredictionLimits(flags.samples_per_minute, flags.answer_within)
    inform = _Informer(folder, parts, flags)
    with draining(flags.log_json) as stop:
        status = serve_predictions(
            folder, parts, PredictionOptions(flags.listen, flags.prometheus, inform.opened, limits), stop
        )
    if flags.as_json:
        import json

        print(json.dumps(status, indent=2))


class _Informer:
    """Print what the operator sends to the sites, once the server listens."""

    def __init__(self, folder: Path, parts: ServedRunParts, flags: PredictionFlags) -> None:
        self._folder, self._parts, self._flags = folder, parts, flags

    def opened(self, port: int, authority: Authority) -> None:
        """Write segments and tokens, or print lines; never to a log."""
        del port
        from sglr.engines.remote.run_description import run_id
        from sglr.sites.join_commands import keep_address, missing, told_address, write_tokens

        flags, experiment = self._flags, self._parts.trained.run.experiment
        address, days = told_address(flags.listen, flags.address), timedelta(days=flags.token_days)
        keep_address(self._folder, address)
        self._say(f"Predictions of {self._folder} are answered at {address}; Ctrl-C ends it.")
        if flags.segments is not None:
            paths = self._parts.trained.write_segments(flags.segments, run_id(authority.fingerprint))
            self._say(f"Wrote the weights of {len(paths)} clients to {flags.segments}; send each site its file.")
        clients = missing(authority, experiment)
        if flags.tokens is not None:
            self._say(f"Wrote {len(write_tokens(authority, clients, days, flags.tokens))} tokens to {flags.tokens}.")
        elif clients and not flags.log_json:
            self._print_lines(authority, address, clients, days)

    def _print_lines(self, authority: Authority, address: str, clients: list[int], lifetime: timedelta) -> None:
        from sglr.sites.join_commands import new_lines, predict_line

        lines = new_lines(
            authority, self._parts.trained.run.experiment, address, clients, lifetime, predict_line
        ).values()
        self._say(f"Sites that have not joined: each has a line, valid once, for {self._flags.token_days:g} days:\n")
        self._say("\n".join([*lines, ""]))

    def _say(self, text: str) -> None:
        if self._flags.log_json:
            logging.getLogger("sglr.sites").info(text)
        else:
            print(text, file=sys.stderr if self._flags.as_json else sys.stdout, flush=True)
