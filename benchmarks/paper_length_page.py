"""Write docs/results/paper-length.md: tables of what is done, the claims, and the sections that are kept by hand."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from statistics import fmean
from textwrap import fill

import paper_length_short
from paper_length_figures import PAPER, SURE, Judged, LongRun, judged, long_run
from paper_length_plot import chart
from sglr.report.numbers import NONE, duration, operations, size
from sglr.storage.files import write_text
from sglr.studies.sweeps.sweep import SweepPlan
from which_method_figures import Cell, Known, Row, Rows, rows
from which_method_page import by_line, kept_by_hand, shown_gap

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs/results/paper-length.md"
RECORD = ROOT / "benchmarks/results/paper-length-cpu.json"

TITLES = {
    "table4-cnn": "Table 4, with the small CNN in AlexNet's place",
    "table2-six-clients": "Table 2, six clients, ResNet16",
    "table4-alexnet": "Table 4, AlexNet",
}

SHORT = {"table4-cnn": "4, CNN", "table2-six-clients": "2, ResNet16", "table4-alexnet": "4, AlexNet"}

COMMANDS = """```sh
python benchmarks/paper_length.py train --out runs/paper-length --hours 8
python benchmarks/paper_length.py page --out runs/paper-length
```"""

ABOUT = """
The paper's Tables 4 and 2 with as many epochs and samples as the paper has, at sizes that two cores allow, with both
ways of beginning. All tables are written from the runs alone.
""".strip().replace("\n", " ")

READING = """
1,000 samples for each client, drawn by the seed, IID; batches of 8, Adam at 0.001, ten times less from 80 % of the
epochs on; binary cross-entropy on the softmax, 1,000 samples for validation. *Test* is the accuracy of the best
epoch by the validation, in %, the mean over clients on the test data (10,000 samples; Table 2: 2,000), ± the
standard deviation over seeds. *Last* is the validation accuracy after the last epoch, *sent* both ways and all clients,
*computes* one client over the whole training. *Start* is how clients begin: with first weights in common, or with
their own as in the paper; with `sfl` and `fl` all begin alike by law, and `cl` is one client.
""".strip().replace("\n", " ")

CLAIMING = """
Differences of test accuracies in points, paired by seed, ± half of the 95 % t-interval. A claim holds or fails where
the paired t-test says so with p < {sure} after Holm's correction for the claims of its table; with one seed there is
no test, and what stands there is one pair of trainings.
""".strip().replace("\n", " ")


SHORTER = """
The [study of all methods](which-method.md) has these methods, too, IID and with both starts where the paper's is at
stake: ten clients, 12 epochs, 200 samples each of Fashion-MNIST; with ResNet16 six clients, 15 epochs, 100 samples.
Differences as above, from the last epoch, with the pairs in brackets; **bold** where p < 0.05 after Holm's correction
for this table.
""".strip().replace("\n", " ")


def write_page(sweeps: Sequence[SweepPlan], known: Known, page: Path | None) -> None:
    """Write the page, a plot for each grid with a finished run, and the record, which keeps all that it had.

    Parameters
    ----------
    sweeps
        What is, or is to be, trained.
    known
        Runs of the record, which may not be here.
    page
        The Markdown file, with all else beside it; None is the one of the documentation, all else in its place.
    """
    found = {(sweep.folder.name, trial.experiment.fingerprint()): long_run(sweep.folder.name, trial, known)
             for sweep in sweeps for trial in sweep.trials}  # fmt: skip
    runs = [run for run in found.values() if run is not None]
    if not runs:
        raise SystemExit("no run is finished: train first")
    table = rows(runs)
    where = PAGE if page is None else page
    before = where.read_text(encoding="utf-8") if where.is_file() else ""
    where.parent.mkdir(parents=True, exist_ok=True)
    write_text(where, "\n\n".join(_sections(sweeps, table, where.stem, before)) + "\n")
    for grid in _grids(table):
        write_text(where.with_name(f"{where.stem}-{grid}.svg"), chart(table, grid, TITLES[grid]))
    others = [own for (grid, _, fingerprint), own in known.items() if (grid, fingerprint) not in found]
    cells: list[Cell] = [*runs, *others]
    record = RECORD if page is None else where.with_suffix(".json")
    write_text(record, by_line({"command": COMMANDS.splitlines()[1], "cells": [own.record() for own in cells]}))
    print(f"{len(cells)} runs: {where}, {record}")


def _grids(found: Rows) -> list[str]:
    return list(dict.fromkeys(grid for grid, _, _ in found))


def _sections(sweeps: Sequence[SweepPlan], found: Rows, name: str, before: str) -> Iterator[str]:
    yield "# The paper's length"
    yield fill(ABOUT, 120)
    yield f"**In short**\n\n{kept_by_hand('in short', before)}"
    yield "## How it was run"
    yield "\n\n".join([COMMANDS, fill(READING, 120), _settings(sweeps), _machines(found)])
    yield "## The paper's claims"
    yield "\n\n".join([fill(CLAIMING.format(sure=SURE), 120), _claims(judged(found, _grids(found)))])
    yield "## The same claims in short trainings"
    yield "\n\n".join([fill(SHORTER, 120), paper_length_short.table()])
    for sweep in sweeps:
        grid = sweep.folder.name
        if grid in _grids(found):
            yield f"## {TITLES[grid]}"
            yield _table(found, grid)
            yield f"![Validation accuracy over epochs, {TITLES[grid]}]({name}-{grid}.svg)"
    yield "## What is missing"
    yield _missing(sweeps, found)
    yield kept_by_hand("not covered", before)


def _settings(sweeps: Sequence[SweepPlan]) -> str:
    lines = [
        "| trainings | model | pixels | clients | epochs | validated every | seeds |",
        "|---|---|---|---|---|---|---|",
    ]
    for sweep in sweeps:
        own = sweep.experiments[0]
        pixels = own.dataset_parameters.get("image_size", own.flat().get("image_size"))
        seeds = len({one.seed for one in sweep.experiments})
        title = f"[{TITLES[sweep.folder.name]}](../../benchmarks/paper_length/{sweep.folder.name}.toml)"
        facts = [title, f"`{own.model}`", f"{pixels} × {pixels}", own.clients, own.epochs, own.eval_every, seeds]
        lines.append(f"| {' | '.join(map(str, facts))} |")
    return "\n".join(lines)


def _machines(found: Rows) -> str:
    """Say where and when, and how long trainings took."""
    every = [own for row in found.values() for own in row.cells if isinstance(own, LongRun)]
    days = sorted({own.date for own in every if own.date})
    places = sorted({own.machine for own in every if own.machine})
    when = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}" if days else "no date"
    where = "; ".join(places)
    return f"{where}; {when}. They ran beside other work, at the lowest priority: their times say nothing of speed."


def _claims(every: Iterable[Judged]) -> str:
    lines = [
        "| table | start | claim | in the paper | measured | pairs | p | verdict |",
        "|---|---|---|---:|---:|---:|---:|---|",
    ]
    for own in every:
        claim, gap = own.claim, own.gap
        paper = NONE if claim.paper is None else f"{claim.paper:+.1f}"
        p = NONE if gap is None or gap.p is None else f"{gap.p:.3f}"
        plain = shown_gap(gap).replace("*", "")
        pairs = 0 if gap is None else gap.pairs
        cells = [SHORT[claim.grid], claim.start, claim.says, paper, plain, pairs, p, own.verdict]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def _table(found: Rows, grid: str) -> str:
    head = "| method | start | seeds | test | best epoch | last | the paper's | sent | computes | server | took |"
    lines = [head, f"|---|---|{'---:|' * 9}"]
    own = {method: row for (of, _, method), row in found.items() if of == grid}
    best_first = sorted(own, key=lambda name: -(own[name].mean("accuracy") or 0.0))
    return "\n".join([*lines, *(_line(method, own[method], grid) for method in best_first)])


def _line(method: str, row: Row, grid: str) -> str:
    runs = [run for run in row.finished if isinstance(run, LongRun)]
    name = method.partition(":")[0]
    paper = PAPER[grid].get(name)
    if not runs:
        return f"| `{method}` | | 0 | diverged |{' |' * 7}"
    mean, spread = row.mean("accuracy") or 0.0, row.spread
    epochs = sorted({run.best_epoch for run in runs if run.best_epoch is not None})
    each = " to ".join(map(str, epochs if len(epochs) < 2 else (epochs[0], epochs[-1])))
    pooled = runs[0].weights == "pooled"
    cells = [
        f"`{method}`",
        "one client" if name == "cl" else runs[0].start,
        str(len(runs)),
        f"{mean:.1f}" + ("" if spread is None else f" ± {spread:.1f}"),
        each,
        f"{fmean(run.last for run in runs if run.last is not None):.1f}",
        NONE if paper is None else f"{paper:.1f}",
        NONE if pooled else size(row.mean("sent")),
        operations(row.mean("client_flops")),
        operations(row.mean("server_flops")),
        duration(row.mean("took")),
    ]
    return f"| {' | '.join(cells)} |"


def _missing(sweeps: Sequence[SweepPlan], found: Rows) -> str:
    """Say of each grid how many of its runs are done, and which are not."""
    lines = []
    for sweep in sweeps:
        grid = sweep.folder.name
        done = {(method, run.seed) for (of, _, method), row in found.items() if of == grid for run in row.cells}
        left: dict[str, list[int]] = {}
        for trial in sweep.trials:
            if (trial.label, trial.seed) not in done:
                left.setdefault(trial.label, []).append(trial.seed)
        listed = "; ".join(f"`{label}`: {_seeds(seeds)}" for label, seeds in left.items())
        told = f"; missing: {listed}" if left and done else ""
        number = f"{len(done)} of {len(sweep.trials)} trainings are done" if done else "none of it is trained yet"
        lines.append(f"- **{TITLES[grid]}**: {number}{told}.")
    return "\n".join(
        [*lines, "", "The same command goes on with the rest, on any machine: the record says what is done."]
    )


def _seeds(seeds: Sequence[int]) -> str:
    return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"
