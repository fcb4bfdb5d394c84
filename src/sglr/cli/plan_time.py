"""``sglr plan --rtt``: the time of an epoch, and to a score, over links with a delay."""

from __future__ import annotations

import json
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sglr.core.errors import UsageError
from sglr.data.batch_rule import BatchRule

if TYPE_CHECKING:
    from pathlib import Path

    from sglr.planner.request import Request
    from sglr.planner.time_advice import Pilot
    from sglr.planner.wall_time import Route

PANEL = "Time over your links"
MOST_SAMPLES, MOST_CLIENTS = 200, 10
"""Of a pilot: samples of each client, and clients."""


def _option(flag: str, placeholder: str, about: str) -> Any:
    return typer.Option(flag, metavar=f"<{placeholder}>", help=about, rich_help_panel=PANEL, show_default=False)


Rtt = Annotated[
    str | None, _option("--rtt", "time", "Round trip of a link, such as 100ms: tells the time of an epoch, fl beside")
]
PilotEpochs = Annotated[
    int | None,
    _option(
        "--pilot", "int", "Train each method here for so many epochs on some of the data: tells the time to a score"
    ),
]
Target = Annotated[
    float | None, _option("--target", "number", "The pilot's score, such as 0.75; default: the best that all reach")
]
PlanMethods = Annotated[
    str | None, _option("--methods", "list", "Methods to time, such as fl,psl; default: fl,psl,sfl,sglr")
]
Codes = Annotated[
    str | None, _option("--compressions", "list", "How values at the cut are written; default: none,int8")
]
Ahead = Annotated[
    str | None, _option("--ahead", "int,…", "Batches that clients compute ahead (--pipelining); default: 0,1,4")
]


@dataclass(frozen=True)
class TimesAsked:
    """What of times was asked for, as it was written; None for what was not.

    Parameters
    ----------
    rtt
        The time of a round trip: without it there are no times.
    methods, compressions, ahead
        Lists with commas.
    pilot, target
        Epochs of a pilot and its score.

    Raises
    ------
    UsageError
        If something is asked for that only times take, without ``rtt``.
    """

    rtt: str | None = None
    methods: str | None = None
    compressions: str | None = None
    ahead: str | None = None
    pilot: int | None = None
    target: float | None = None

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value is not None and self.rtt is None:
                problem = "is for times over links, whose delay is not given"
                raise UsageError(name, value, problem, "give --rtt, such as 100ms")
        for name in ("methods", "compressions", "ahead"):
            text = getattr(self, name)
            if text is not None and not _words(text, ""):
                raise UsageError(name, text, "names none", "give one, or several with commas between")
        if self.target is not None and not isfinite(self.target):
            raise UsageError("target", self.target, "is no score", "give a number, such as 0.75")
        if self.target is not None and self.pilot is None:
            raise UsageError("target", self.target, "is the score of a pilot, which is not asked for", "give --pilot")

    def names(self) -> list[str]:
        """Return the methods."""
        return list(dict.fromkeys(_words(self.methods, "fl,psl,sfl,sglr")))

    def codes(self) -> list[str]:
        """Return how values at the cut are written."""
        return list(dict.fromkeys(_words(self.compressions, "none,int8")))

    def routes(self, usual_ahead: str) -> list[Route]:
        """Return all combinations."""
        from sglr.planner.wall_time import routes

        words = _words(self.ahead, usual_ahead)
        try:
            depths = [int(word) for word in words]
        except ValueError:
            raise UsageError("ahead", self.ahead, "is no list of numbers", "write it like 0,1,4") from None
        return routes(self.names(), self.codes(), depths)

    @property
    def delay(self) -> float:
        """Seconds of a round trip."""
        from sglr.cost.units import read_time

        assert self.rtt is not None, "times were asked for"
        return read_time(self.rtt, "rtt")


def show_time(asked: Request, times: TimesAsked, *, as_json: bool) -> None:
    """Print times over the user's links.

    Parameters
    ----------
    asked
        Sizes and rates.
    times
        What of them is asked for.
    as_json
        Whether to print JSON.
    """
    from rich.console import Console

    from sglr.cli.screens import table
    from sglr.planner.time_advice import TimeAdvice
    from sglr.planner.wall_time import Network
    from sglr.planner.words import setting

    ways, delay = times.routes("0,1,4"), times.delay
    if times.pilot is not None:
        _check_pilot(asked, times.pilot)
    found = asked.plan()
    network = Network(found, delay)
    each = [network.time(way) for way in ways]
    console = Console(highlight=False, stderr=as_json)
    tried = None if times.pilot is None else _pilot(asked, times, times.pilot, console.print)
    advice = TimeAdvice(network, each, tried)
    if as_json:
        print(json.dumps(found.record() | {"time": advice.record()}, indent=2))
        return
    for sentence in advice.sentences():
        console.print(sentence, markup=False)
    console.print()
    for line in [*setting(found), f"steps of {found.batch} samples, round trip {times.rtt}"]:
        console.print(line, markup=False, style="dim")
    console.print()
    console.print(table(*advice.table()))


def _words(text: str | None, usual: str) -> list[str]:
    return [word.strip() for word in (usual if text is None else text).split(",") if word.strip()]


def _check_pilot(asked: Request, pilot: int) -> None:
    if asked.model is None or asked.dataset is None:
        problem = "a pilot trains, and there is no model or no data set to train with"
        raise UsageError("pilot", pilot, problem, "give --model and --dataset, or leave it out")


def _pilot(asked: Request, times: TimesAsked, epochs: int, told: Any) -> Pilot:
    from sglr.studies.pilot import run_pilot

    owned = MOST_SAMPLES if asked.samples is None else max(1, asked.samples // asked.clients)
    clients = min(asked.clients, MOST_CLIENTS)
    given: dict[str, str | int | Path | None] = {
        "model": asked.model,
        "cut": asked.cut,
        "dataset": asked.dataset,
        "data_dir": asked.data_dir,
        "task": asked.task,
        "lora": asked.lora,
        "freeze": asked.freeze,
        "batch_size": asked.batch_size,
        "batching": _batching(asked, clients),
        "clients": clients,
        "samples_per_client": min(MOST_SAMPLES, owned),
    }
    settings: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    settings["phi"] = asked.phi

    def say(label: str) -> None:
        told(f"pilot: {label}", style="dim")

    return run_pilot(times.names(), times.codes(), epochs, settings, times.target, say)


def _batching(asked: Request, clients: int) -> str | None:
    """Return the rule by which a client of a pilot has as many samples in a step as one of the plan."""
    rule = BatchRule.parse(asked.batching)
    if rule.together is not None:
        return f"{rule.name}:{rule.together // asked.clients * clients}"
    return rule.name if rule.of_cohort else None
