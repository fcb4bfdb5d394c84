"""``sglr plan --rtt``: the time of an epoch, and to a score, over links with a delay."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sglr.core.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from sglr.planner.plan import CostPlan
    from sglr.planner.request import Request
    from sglr.planner.time_advice import Pilot

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


def check_time(rtt: str | None, **others: object) -> None:
    """Refuse what only times take."""
    for name, value in others.items():
        if value is not None and rtt is None:
            raise UsageError(
                name, value, "is for times over links, whose delay is not given", "give --rtt, such as 100ms"
            )


def show_time(
    asked: Request,
    rtt: str,
    methods: str | None,
    codes: str | None,
    ahead: str | None,
    pilot: int | None,
    target: float | None,
    *,
    as_json: bool,
) -> None:
    """Print times over the user's links.

    Parameters
    ----------
    asked
        Sizes and rates.
    rtt
        The time of a round trip.
    methods, codes, ahead
        Lists with commas, or None for the usual ones.
    pilot, target
        Epochs of a pilot and its score; None for none.
    as_json
        Whether to print JSON.
    """
    from rich.console import Console

    from sglr.cli.screens import table
    from sglr.cost.units import read_time
    from sglr.planner.time_advice import TimeAdvice
    from sglr.planner.wall_time import Network, routes
    from sglr.planner.words import setting

    named, written = _words(methods, "fl,psl,sfl,sglr"), _words(codes, "none,int8")
    ways = routes(named, written, _depths(ahead))
    delay = read_time(rtt, "rtt")
    if pilot is not None:
        _check_pilot(asked, pilot)
    found: CostPlan = asked.plan()
    network = Network(found, delay)
    times = [network.time(way) for way in ways]
    console = Console(highlight=False, stderr=as_json)
    tried = None if pilot is None else _pilot(asked, named, written, pilot, target, console.print)
    advice = TimeAdvice(network, times, tried)
    if as_json:
        print(json.dumps(found.record() | {"time": advice.record()}, indent=2))
        return
    for sentence in advice.sentences():
        console.print(sentence, markup=False)
    console.print()
    for line in setting(found):
        console.print(line, markup=False, style="dim")
    console.print(f"steps of {found.batch} samples, round trip {rtt}", markup=False, style="dim")
    console.print()
    console.print(table(*advice.table()))


def _words(text: str | None, usual: str) -> list[str]:
    return [word.strip() for word in (usual if text is None else text).split(",") if word.strip()]


def _depths(text: str | None) -> list[int]:
    words = _words(text, "0,1,4")
    try:
        return [int(word) for word in words]
    except ValueError:
        raise UsageError("ahead", text, "is no list of numbers", "write it like 0,1,4") from None


def _check_pilot(asked: Request, pilot: int) -> None:
    if asked.model is None or asked.dataset is None:
        problem = "a pilot trains, and there is no model or no data set to train with"
        raise UsageError("pilot", pilot, problem, "give --model and --dataset, or leave it out")


def _pilot(asked: Request, methods: list[str], codes: list[str], epochs: int, target: float | None, told: Any) -> Pilot:
    from sglr.studies.pilot import run_pilot

    given: dict[str, str | int | Path | None] = {
        "model": asked.model,
        "cut": asked.cut,
        "dataset": asked.dataset,
        "data_dir": asked.data_dir,
        "task": asked.task,
        "lora": asked.lora,
        "batch_size": asked.batch_size,
        "clients": min(asked.clients, MOST_CLIENTS),
        "samples_per_client": MOST_SAMPLES,
    }
    settings = {name: value for name, value in given.items() if value is not None}
    return run_pilot(methods, codes, epochs, settings, target, lambda label: told(f"pilot: {label}", style="dim"))
