"""A plan as the terminal shows it: what wins, and tables of methods and of cuts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from sglr.planner.plan import CostPlan, CutCost


def print_plan(found: CostPlan, words: Mapping[str, Sequence[str]]) -> None:
    """Print a plan.

    Parameters
    ----------
    found
        The plan.
    words
        What `sglr.planner.words.paragraphs` says of it.
    """
    from rich.console import Console

    from sglr.planner.words import setting

    console = Console(highlight=False)
    _say(console, words["answer"])
    console.print()
    _say(console, setting(found), style="dim")
    _show(console, "One epoch; medium: shared by all clients, links: one per client", *_traffic(found))
    parts = {"computation": found.scenario.work, "energy": found.scenario.profile}
    known = [name for name, part in parts.items() if part is not None]
    if known:
        _show(console, " and ".join(known).capitalize(), *_work(found))
    _say(console, words["crossovers"], "If one number changes and the others do not")
    if found.cuts:
        title = f"What crosses each cut, and what a client holds; a batch of {found.batch} samples; > yours"
        _show(console, title, *_at_clients(found))
        title = "Every cut, for an epoch of SGLR; > yours, * Pareto-optimal in bytes sent and client computation"
        _show(console, title, *_cuts(found))
        console.print()
        _say(console, words["cuts"])
    _say(console, words["advice"], "Accuracy: a rule of thumb, from docs/results/when-sglr-wins.md")
    _say(console, words["counted"], "Counted")


def _say(console: Console, sentences: Sequence[str], title: str = "", style: str = "") -> None:
    if title:
        console.print(f"\n[bold]{title}[/bold]")
    for sentence in sentences:
        console.print(sentence, markup=False, style=style)


def _show(console: Console, title: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table without its empty columns."""
    from sglr.cli.screens import table
    from sglr.report.numbers import NONE

    kept = [at for at in range(len(headings)) if any(row[at] != NONE for row in rows)]
    console.print(f"\n[bold]{title}[/bold]")
    console.print(table([headings[at] for at in kept], [[row[at] for at in kept] for row in rows]))


def _traffic(found: CostPlan) -> tuple[list[str], list[list[str]]]:
    from sglr.planner.words import megabytes
    from sglr.report.numbers import clock

    rows = []
    for method, cost in found.methods.items():
        row = [method.upper(), megabytes(cost.views["paper"].per_client_mb)]
        for view in cost.views.values():
            row += [megabytes(view.total_mb), clock(view.seconds)]
        rows.append(row)
    # Headings break at spaces, except non-breaking ones.
    headings = ["", "paper per\u00a0client", "paper total", "paper time"]
    return [*headings, "medium total", "medium time", "links total", "links time"], rows


def _work(found: CostPlan) -> tuple[list[str], list[list[str]]]:
    from sglr.report.numbers import NONE, clock, joules, operations

    headings = [
        "",
        "a\u00a0client computes",
        "the\u00a0server computes",
        "in\u00a0time T",
        "energy",
        "network's energy",
    ]
    rows = [
        [
            method.upper(),
            operations(cost.client_flops),
            operations(cost.server_flops),
            clock(cost.compute_seconds) if cost.compute_seconds else NONE,
            joules(cost.joules),
            joules(cost.network_joules),
        ]
        for method, cost in found.methods.items()
    ]
    return headings, rows


def _at_clients(found: CostPlan) -> tuple[list[str], list[list[str]]]:
    from sglr.planner.costs import BYTES_PER_MB
    from sglr.planner.words import megabytes
    from sglr.report.numbers import NONE, percent

    headings = [
        "",
        "crosses",
        "one sample",
        "beside\u00a0it",
        "client trains",
        "frozen",
        "client holds",
        "its computing",
    ]
    rows = []
    for entry in found.cuts:
        cut, flops = entry.cut, entry.methods["fl"].client_flops or 1.0
        learned = [value for value in cut.crosses if value.learned]
        rows.append(
            [
                _marked(entry, found),
                "×".join(map(str, learned[0].shape)) + (f"\u00a0+{len(learned) - 1}" if len(learned) > 1 else ""),
                megabytes(cut.cut_mb),
                megabytes(cut.beside_mb) if cut.beside_mb else NONE,
                megabytes(cut.client_mb),
                megabytes(cut.frozen_mb) if cut.frozen_mb else NONE,
                megabytes(cut.memory.bytes(found.batch) / BYTES_PER_MB),
                percent((entry.methods["sglr"].client_flops or 0.0) / flops),
            ]
        )
    return headings, rows


def _marked(entry: CutCost, found: CostPlan) -> str:
    return f"{'>' if entry.cut.name == found.cut else ' '}{'*' if entry.efficient else ' '} {entry.cut.name}"


def _cuts(found: CostPlan) -> tuple[list[str], list[list[str]]]:
    from sglr.planner.plan import SPLIT
    from sglr.planner.words import megabytes
    from sglr.report.numbers import clock, joules

    headings = ["", "sent", "sent\u00a0by SFL", "time", "energy"]
    rows = []
    for entry in found.cuts:
        cost = entry.methods[SPLIT]
        rows.append(
            [
                _marked(entry, found),
                megabytes(cost.views["paper"].total_mb),
                megabytes(entry.methods["sfl"].views["paper"].total_mb),
                clock(cost.views["paper"].seconds),
                joules(cost.joules),
            ]
        )
    return headings, rows
