"""Write docs/results/which-method.md: tables of what is done, and the two sections that are kept by hand."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from textwrap import fill
from typing import TYPE_CHECKING, Any

from record import machine
from sglr.report.numbers import NONE, duration, operations, size
from sglr.storage.files import write_text
from sglr.studies.sweeps.sweep import SweepPlan
from which_method_figures import KEPT, POOLED, SHARED, Cell, Difference, Known, Row, Rows, against, best, cell, rows
from which_method_plot import chart

if TYPE_CHECKING:
    from which_method import Part

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs/results/which-method.md"
RECORD = ROOT / "benchmarks/results/which-method-cpu.json"
PLANNER = ROOT / "src/sglr/planner/which_method.json"

SURE = 0.05
"""What is written in bold has a smaller corrected p-value."""

COMMANDS = """```sh
python benchmarks/which_method.py train --out runs/which-method
python benchmarks/which_method.py page --out runs/which-method
```"""

READING = """
All start from first weights in common, except where `init=independent` says otherwise, as the paper's do. Adam
at 0.001 (× 0.1 at 80 %). *Nothing was tuned, for any method*, no data are held apart for validation, and the
last epoch is tested: no figure here was chosen. The rest is in the files of `benchmarks/which_method`. Accuracy
is the mean over clients' segments on test data, in %, ± the standard deviation over seeds; fewer seeds than all
are told in brackets. *Sent* is both ways and all clients, *computes* is one client, both over the whole
training and as the mean of the divisions. *Link* is the time that sending takes where each client has a link of
its own with 20 Mbit/s (both ways together) and 50 ms for each message; computing takes no time there.
""".strip().replace("\n", " ")

TESTING = """
Points above `{base}`, ± half of the 95 % t-interval, over runs paired by data set and seed; **bold** where the
paired t-test says so with p < {sure} after Holm's correction for all {number} comparisons of the table. Pairs
of one data set are not independent of one another, and data sets differ: read it as a summary of the tables
above.
""".strip().replace("\n", " ")

CLASSES = {KEPT: "stay", SHARED: "shared", POOLED: "all data in one place"}


def write_page(
    sweeps: Sequence[tuple[Part, SweepPlan]], study: Mapping[str, Any], known: Known, page: Path | None
) -> None:
    """Write the page, a plot for each data set, the record of all cells, and the table that the planner reads.

    Parameters
    ----------
    sweeps
        The parts of the study, and their sweeps.
    study
        What methods.toml holds.
    known
        Cells of the record, for runs that are not here.
    page
        The Markdown file, with all else beside it; None is the one of the documentation, all else in its place.
    """
    cells = [one for part, sweep in sweeps for one in _cells(part, sweep, known)]
    if not cells:
        raise SystemExit("no run is finished: train first")
    found = rows(cells)
    parts = [part for part, _ in sweeps if any(data == part.data for data, _, _ in found)]
    where = PAGE if page is None else page
    record, planner = (
        (RECORD, PLANNER) if page is None else (where.with_suffix(".json"), where.with_name("planner.json"))
    )
    titles = {name: own["title"] for name, own in study["division"].items()}
    before = where.read_text(encoding="utf-8") if where.is_file() else ""
    text = "\n\n".join(_sections(parts, found, study["base"], titles, where.stem, before)) + "\n"
    where.parent.mkdir(parents=True, exist_ok=True)
    write_text(where, text)
    for data in dict.fromkeys(part.data for part in parts):
        write_text(where.with_name(f"{where.stem}-{data}.svg"), chart(found, data, titles, _title(parts, data)))
    whole = {
        "command": "python benchmarks/which_method.py page",
        "machine": machine(),
        "cells": [c.record() for c in cells],
    }
    write_text(record, by_line(whole))
    write_text(planner, by_line(planner_table(parts, found)))
    print(f"{len(cells)} runs: {where}, {record}, {planner}")


def by_line(whole: Mapping[str, Any]) -> str:
    """Return JSON with a line for each member, and for each of those of a list."""
    members = []
    for name, value in whole.items():
        each = [json.dumps(one, ensure_ascii=False) for one in value] if isinstance(value, list) else None
        text = json.dumps(value, ensure_ascii=False) if each is None else "[\n" + ",\n".join(each) + "\n]"
        members.append(f"{json.dumps(name)}: {text}")
    return "{\n" + ",\n".join(members) + "\n}\n"


def _cells(part: Part, sweep: SweepPlan, known: Known) -> Iterator[Cell]:
    for trial in sweep.trials:
        one = cell(part.data, part.division, trial, known)
        if one is not None:
            yield one


def _title(parts: Sequence[Part], data: str) -> str:
    return next(part.title for part in parts if part.data == data)


def _sections(
    parts: Sequence[Part], found: Rows, base: str, titles: Mapping[str, str], name: str, before: str
) -> Iterator[str]:
    yield "# Which method?"
    yield "Every method, on data that are divided in several ways. All tables are written from the runs alone."
    yield f"**In short**\n\n{kept_by_hand('in short', before)}"
    yield "## How it was run"
    yield _how(parts, found)
    yield "## The best of each class"
    yield _classes(parts, found, titles)
    for data in dict.fromkeys(part.data for part in parts):
        yield f"## {_title(parts, data)}"
        yield _table(found, data, titles)
        yield f"![Accuracy against bytes sent, {_title(parts, data)}]({name}-{data}.svg)"
    yield f"## Against `{base}`"
    yield _tests(found, base, titles)
    yield f"## What is not covered\n\n{kept_by_hand('not covered', before)}"


def kept_by_hand(name: str, before: str) -> str:
    """Return a section between its markers, as the page has it."""
    begin, end = f"<!-- by hand: {name} -->", f"<!-- end: {name} -->"
    own = re.search(f"{re.escape(begin)}\n(.*?){re.escape(end)}", before, re.DOTALL)
    return f"{begin}\n{own[1] if own else ''}{end}"


def _how(parts: Sequence[Part], found: Rows) -> str:
    lines = [
        "| data | clients | samples each | model | epochs | b | seeds done |",
        "|---|---:|---:|---|---:|---:|---:|",
    ]
    for part in {part.data: part for part in parts}.values():
        own = part.settings
        seeds = {cell.seed for (data, _, _), row in found.items() if data == part.data for cell in row.cells}
        each = own.get("samples_per_client", "all")
        facts = [part.title, own["clients"], each, f"`{own['model']}`", own["epochs"], own["batch_size"], len(seeds)]
        lines.append(f"| {' | '.join(map(str, facts))} |")
    here = machine()
    done_on = f"{here['cores']} cores ({here['processor']}), one process, torch {here['torch']}, {here['date']}."
    return "\n\n".join([COMMANDS, "\n".join(lines), fill(READING, 120), done_on])


def _classes(parts: Sequence[Part], found: Rows, titles: Mapping[str, str]) -> str:
    lines = [
        "Chosen after the fact, on the test: a direction, not a test.\n",
        "| data | division | client weights stay | % | client weights shared | % | apart |",
        "|---|---|---|---:|---|---:|---:|",
    ]
    for data in dict.fromkeys(part.data for part in parts):
        for division, title in titles.items():
            kept, shared = (best(found, data, division, weights) for weights in (KEPT, SHARED))
            if kept is None or shared is None:
                continue
            ours, theirs = (row.mean("accuracy") or 0.0 for _, row in (kept, shared))
            cells = [_title(parts, data), title, f"`{kept[0]}`", f"{ours:.1f}", f"`{shared[0]}`", f"{theirs:.1f}"]
            lines.append(f"| {' | '.join(cells)} | {ours - theirs:+.1f} |")
    return "\n".join(lines)


def _table(found: Rows, data: str, titles: Mapping[str, str]) -> str:
    divisions = [name for name in titles if any((of, where) == (data, name) for of, where, _ in found)]
    head = ["method", "client weights", *(titles[name] for name in divisions), "mean", "sent", "computes", "link"]
    lines = [f"| {' | '.join(head)} |", f"|---|---|{'---:|' * (len(head) - 2)}"]
    most = max(len(row.cells) for (of, _, _), row in found.items() if of == data)
    methods = dict.fromkeys(method for of, _, method in found if of == data)
    own = {name: [found.get((data, division, name)) for division in divisions] for name in methods}
    for name in sorted(own, key=lambda name: _place(own[name])):
        each = own[name]
        weights = next((row.weights for row in each if row is not None and row.weights), "")
        cells = [f"`{name}`", CLASSES.get(weights, NONE), *(_accuracy(row, most) for row in each)]
        mean = _mean(each, "accuracy", whole=True)
        cells.append(NONE if mean is None else f"{mean:.1f}")
        sent, flops, seconds = (_mean(each, figure) for figure in ("sent", "client_flops", "seconds"))
        cells += (
            [size(sent), operations(flops), duration(seconds)] if weights != POOLED else [NONE, operations(flops), NONE]
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _accuracy(row: Row | None, most: int) -> str:
    if row is None:
        return NONE
    mean, spread = row.mean("accuracy"), row.spread
    if mean is None:
        return "diverged"
    fewer = f" ({len(row.finished)})" if len(row.finished) < most else ""
    return f"{mean:.1f}" + ("" if spread is None else f" ± {spread:.1f}") + fewer


def _mean(each: Sequence[Row | None], name: str, *, whole: bool = False) -> float | None:
    """Return a figure's mean over divisions; None where one is missing and all are needed."""
    found = [row.mean(name) for row in each if row is not None]
    known = [value for value in found if value is not None]
    return None if not known or (whole and len(known) < len(each)) else fmean(known)


def _place(each: Sequence[Row | None]) -> tuple[bool, float]:
    """Return what rows are sorted by: the most accurate first, those last that lack a division."""
    return None in each, -(_mean(each, "accuracy") or 0.0)


def _tests(found: Rows, base: str, titles: Mapping[str, str]) -> str:
    gaps = against(found, base, list(titles))
    lines = [
        fill(TESTING.format(base=base, sure=SURE, number=len(gaps)), 120) + "\n",
        f"| method | {' | '.join(titles.values())} | pairs |",
        f"|---|{'---:|' * (len(titles) + 1)}",
    ]
    methods = dict.fromkeys(method for method, _ in gaps)
    own = {name: [gaps.get((name, division)) for division in titles] for name in methods}
    for name in sorted(own, key=lambda name: -fmean(gap.mean for gap in own[name] if gap is not None)):
        pairs = [gap.pairs for gap in own[name] if gap is not None]
        shown = f"{min(pairs)}" if min(pairs) == max(pairs) else f"{min(pairs)} to {max(pairs)}"
        lines.append(f"| `{name}` | {' | '.join(map(shown_gap, own[name]))} | {shown} |")
    return "\n".join(lines)


def shown_gap(gap: Difference | None) -> str:
    if gap is None:
        return NONE
    text = f"{gap.mean:+.1f}" + ("" if gap.half is None else f" ± {gap.half:.1f}")
    return f"**{text}**" if gap.p is not None and gap.p < SURE else text


def planner_table(parts: Sequence[Part], found: Rows) -> dict[str, Any]:
    """Return what ``sglr plan --advise`` reads: data sets as they were trained, and a row for each configuration."""
    data = {}
    for part in {part.data: part for part in parts}.values():
        own = part.settings
        names = ("dataset", "model", "clients", "samples_per_client", "epochs", "batch_size")
        data[part.data] = {"title": part.title, **{name: own[name] for name in names if name in own}}
    return {
        "data": data,
        "rows": [
            {
                "data": of,
                "division": division,
                "method": method,
                "weights": row.weights,
                "seeds": len(row.finished),
                "accuracy": _rounded(row.mean("accuracy"), 2),
                "sd": _rounded(row.spread, 2),
                "sent_mb": _rounded((row.mean("sent") or 0.0) / 1e6, 3),
                "client_gflop": _rounded((row.mean("client_flops") or 0.0) / 1e9, 3),
                "seconds": _rounded(row.mean("seconds"), 1),
            }
            for (of, division, method), row in found.items()
            if row.finished
        ],
    }


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
