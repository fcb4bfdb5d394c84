"""``sglr plan --cuts``: what an epoch costs where clients are cut at different places."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from sglr.core.errors import UsageError

if TYPE_CHECKING:
    from sglr.cli.plan_time import TimesAsked
    from sglr.planner.request import Request
    from sglr.planner.several_cuts import PlanOfCuts
    from sglr.planner.several_cuts_time import LinksOfCuts


def show_cuts(asked: Request, *, as_json: bool) -> None:
    """Print a plan of several cuts.

    Parameters
    ----------
    asked
        Sizes, rates and cuts.
    as_json
        Print JSON.

    Raises
    ------
    UsageError
        If the plan can't be made.
    """
    found = asked.plan_of_cuts()
    if as_json:
        print(json.dumps(found.record(), indent=2))
    else:
        _print(found)


def show_time_of_cuts(asked: Request, times: TimesAsked, *, as_json: bool) -> None:
    """Print times over the user's links, by the slowest path of a step.

    Parameters
    ----------
    asked
        Sizes, rates and cuts.
    times
        What of them is asked for.
    as_json
        Whether to print JSON.

    Raises
    ------
    UsageError
        If something is asked for that several cuts don't have, or the plan can't be made.
    """
    from rich.console import Console

    from sglr.cli.screens import table
    from sglr.planner.several_cuts_time import LinksOfCuts, check_route
    from sglr.planner.time_advice import TimeAdvice

    if times.pilot is not None:
        problem = f"a pilot trains clients that are all cut at one place (cuts = {asked.cuts})"
        remedy = "leave out one of them, or train: sglr compare --clock --cuts"
        raise UsageError("pilot", times.pilot, problem, remedy)
    ways, delay = times.routes("0"), times.delay
    for way in ways:
        check_route(way)
    found = asked.plan_of_cuts()
    links = LinksOfCuts(found, delay)
    advice = TimeAdvice(links, [links.time(way) for way in ways])
    if as_json:
        paths = {code: [path.record() for path in links.paths(code)] for code in times.codes()}
        print(json.dumps(found.record() | {"time": advice.record() | {"paths": paths}}, indent=2))
        return
    console = Console(highlight=False)
    for sentence in [*advice.sentences(), *links.slowest(advice.times)]:
        console.print(sentence, markup=False)
    console.print(f"\n{_setting(found)}, steps of {found.batch} samples, round trip {times.rtt}", style="dim")
    console.print()
    console.print(table(*advice.table()))
    for code in times.codes():
        written = "" if code == "none" else f", written as {code}"
        console.print(f"\n[bold]A step at clients of each cut{written}[/bold]")
        console.print(table(*_paths(links, code)))


def _paths(links: LinksOfCuts, code: str) -> tuple[list[str], list[list[str]]]:
    from sglr.report.numbers import clock

    headings = ["", "clients", "computes", "up", "round\u00a0trip", "down", "in\u00a0all"]
    rows = []
    for path in links.paths(code):
        seconds = (path.client, path.up, path.rtt, path.down, path.seconds)
        rows.append([path.cut, _ranges(path.clients), *map(clock, seconds)])
    return headings, rows


def _setting(found: PlanOfCuts) -> str:
    from sglr.planner.words import megabytes
    from sglr.report.numbers import count

    sizes = found.scenario.sizes
    each = count(round(sizes.samples / sizes.clients, 1))
    told = f"{count(sizes.clients)} clients with {each} samples each, φ {found.scenario.phi:g}"
    return f"{told}, model {megabytes(sizes.model)}"


def _print(found: PlanOfCuts) -> None:
    from rich.console import Console

    from sglr.cli.screens import table
    from sglr.planner.words import megabytes
    from sglr.report.numbers import NONE

    console, least = Console(highlight=False), found.sent("sglr", "point_to_point")
    console.print(f"An epoch of SGLR sends {megabytes(least.total_mb)} with a link for each client.")
    console.print(_setting(found), style="dim")
    for title, (headings, rows) in (
        ("One epoch; medium: shared by all clients, links: one per client", _methods(found)),
        (f"What crosses, and what a client holds; a batch of {found.batch} samples", _held(found)),
        ("What clients of each cut compute, and all of them send over links, in an epoch", _sent(found)),
    ):
        console.print(f"\n[bold]{title}[/bold]")
        known = [at for at in range(len(headings)) if any(row[at] != NONE for row in rows)]
        console.print(table([headings[at] for at in known], [[row[at] for at in known] for row in rows]))
    counted = "Not counted: targets of samples" + (
        "." if found.targets_mb is None else f", {megabytes(found.targets_mb)} in an epoch."
    )
    console.print(f"\n{counted} Samples are spread evenly over clients.")


def _methods(found: PlanOfCuts) -> tuple[list[str], list[list[str]]]:
    from sglr.planner.several_cuts import METHODS, VIEWS
    from sglr.planner.words import megabytes
    from sglr.report.numbers import clock

    rows = []
    for method in METHODS:
        row = [method.upper()]
        for view in VIEWS:
            sent = found.sent(method, view)
            row += [megabytes(sent.total_mb), clock(sent.seconds)]
        rows.append(row)
    return ["", "medium total", "medium time", "links total", "links time"], rows


def _held(found: PlanOfCuts) -> tuple[list[str], list[list[str]]]:
    from sglr.planner.costs import BYTES_PER_MB
    from sglr.planner.words import megabytes
    from sglr.report.numbers import NONE

    rows = []
    for group in found.groups:
        cut = group.cut
        learned = [value for value in cut.crosses if value.learned]
        rows.append(
            [
                cut.name,
                _ranges(group.clients),
                "×".join(map(str, learned[0].shape)) + (f"\u00a0+{len(learned) - 1}" if len(learned) > 1 else ""),
                megabytes(cut.cut_mb),
                megabytes(cut.beside_mb) if cut.beside_mb else NONE,
                megabytes(cut.client_mb),
                megabytes(cut.frozen_mb) if cut.frozen_mb else NONE,
                megabytes(cut.memory.bytes(found.batch) / BYTES_PER_MB),
            ]
        )
    headings = ["", "clients", "crosses", "one sample", "beside\u00a0it", "client trains", "frozen", "client holds"]
    return headings, rows


def _sent(found: PlanOfCuts) -> tuple[list[str], list[list[str]]]:
    from sglr.planner.several_cuts import METHODS
    from sglr.planner.words import megabytes
    from sglr.report.numbers import operations

    rows = [
        [
            group.cut.name,
            operations(group.client_flops),
            *(megabytes(group.sent_mb(method, "point_to_point")) for method in METHODS),
        ]
        for group in found.groups
    ]
    return ["", "a\u00a0client computes", *(f"{method.upper()} sends" for method in METHODS)], rows


def _ranges(clients: tuple[int, ...]) -> str:
    """Write clients as ranges: 0-4, 7."""
    from sglr.runs.client_cuts import ranges_of

    return ", ".join(ranges_of(clients))
