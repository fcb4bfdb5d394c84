"""Write docs/results/speed.md and its charts from the kept results: goals, and sglr beside others at equal work.

python benchmarks/speed_page.py
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

from record import RESULTS
from sglr.report.numbers import NONE
from sglr.storage.files import write_text
from speed_goals import STATES, Goal, Result, as_sglr_starts, goal_rows, result
from speed_plot import flower_chart, neighbour_chart
from speed_summary import summary

PAGE = Path(__file__).parents[1] / "docs/results/speed.md"

NOTICEABLE = 0.1
"""Cores that other programs keep busy from which a page says so."""

HEAD = """
Every figure of this page was measured, and every table is written from the results in `benchmarks/results` alone
(`make bench-page`). A figure is a ratio of contenders that took turns within one run, so that a machine that is slow
slows them all. Most were measured on two cores: take the commands, and measure on yours.
"""

FLOWER = """
Flower has no split learning. What both can do is federated averaging, so that is compared: the small CNN on the same
images of Fashion-MNIST, the same batches, Adam that begins anew in every round, a round of one epoch of every client,
nobody left out and nothing evaluated. After the same number of rounds both are tested on the same {tested:,} images.
Flower is {flwr}, with torch {torch}.
"""

SIMULATED = """
**Simulation.** sglr's local engine computes all clients as one stacked call (`--engine local`, no flags for the
machine). Flower's simulation is set up as fast as it can be: a Ray process for each core with one thread, data kept by
the process, fused Adam, and Ray's processes as important as others, which by Ray's own default (nice 15) give way to
any other program. sglr writes a checkpoint after every round, from which a training goes on bit for bit: 9 % of its
time with batches of 8. Flower writes none.
"""

DEPLOYED = """
**Deployed.** Three clients and a server are processes that talk over loopback. sglr's have mutual TLS: `--engine
remote` starts what `sglr serve` and `sglr join` start. Flower has a SuperLink and a SuperNode for each client, with
TLS in which the server alone has a certificate. Flower starts a process for each round of each client, which imports
torch, and its server asks every 3 seconds for answers; sglr's processes stay, and messages are pushed. Where a round
takes minutes, both are lost in it.
"""

LOOP = """
SGLR's authors' public code holds one module and one Adam for each client and takes one after another; the server's loss
is over all their samples at once, and active clients get the mean gradient. `published_loop_steps` in
`benchmarks/contenders.py` is that loop with sglr's models, φ = 1 and the same loss, without data loaders and
evaluation: what remains is the steps alone. *Unsplit* is the whole model on the same total batch, channels last with
fused Adam, which no split training can beat by much. Noise takes the place of images.
"""

CYCLESL = """
CycleSL's authors publish a code ([AnonymWriter/CycleSL](https://github.com/AnonymWriter/CycleSL)). Its loop `CyclePSL`
is called as it stands, with its own clients, server and data loaders, on the CPU; only the evaluation after every round
is left out. sglr trains `--method cyclesl` with the same models, batches and numbers of steps at the server; that both
compute the same is [known](../methods/cyclesl.md#what-to-know). One thread each.
"""

NEIGHBOUR = """
OpenMP's threads spin while they wait for one another. Where another program has one of their cores, the others spin
while they should give way to it. `sglr train` takes the cores that are free when it starts, and its threads sleep after
3,000 spins, unless you [choose](../scaling.md#beside-other-programs). Steps of a training on all cores, against the
same on one thread in the same state:
"""


def write_page(page: Path = PAGE, results: Path = RESULTS) -> None:
    """Write the page, and its charts beside it."""
    write_text(page, text(results))
    if (found := result("flower", results)) is not None:
        write_text(page.with_name("speed-flower.svg"), flower_chart(found))
    if (found := result("neighbour", results)) is not None:
        write_text(page.with_name("speed-neighbour.svg"), neighbour_chart(found["models"]))
    print(page)


def text(results: Path = RESULTS) -> str:
    """Return the page."""
    return "\n\n".join(_sections(results)) + "\n"


def _sections(results: Path) -> Iterator[str]:
    yield "# Speed"
    yield _fill(HEAD)
    if short := [*summary(results)]:
        yield "\n".join(f"- {sentence}" for sentence in short)
    rows = [*goal_rows(results)]
    yield "## How well"
    yield _goals(rows)
    if bounds := [f"- **{goal.what}**: {goal.bound}" for goal, _, found in rows if found is not None and not found.met]:
        yield "What bounds those that are not met:"
        yield "\n".join(fill(line, 140, subsequent_indent="  ", break_long_words=False) for line in bounds)
    yield "How each was measured:"
    yield _commands([(goal.what, goal.command, found) for goal, found, _ in rows])
    for name, section in (
        ("flower", _flower),
        ("throughput", _loop),
        ("cyclesl_code", _cyclesl),
        ("neighbour", _neighbour),
        ("startup", _start),
    ):
        if (found := result(name, results)) is not None:
            yield from section(found)
    yield "## More"
    yield MORE


MORE = """- What computing ahead and codes save over a slow link: [pipelining](pipelining.md); how long a training takes
  over your links, and when FedAvg wins: [time](../time.md), [time to accuracy](time-to-accuracy.md).
- Benchmarks that are no goals of this page, what was tried to be faster, and what it gave: `benchmarks/README.md`."""


def _goals(rows: Sequence[tuple[Goal, Result | None, Any]]) -> str:
    lines = ["| | goal | measured | met |", "|---|---|---|---|"]
    for goal, _, found in rows:
        measured, met = ("not measured yet", NONE) if found is None else (found.text, "yes" if found.met else "**no**")
        lines.append(f"| {goal.what} | {goal.goal} | {measured} | {met} |")
    return "\n".join(lines)


def _commands(rows: Sequence[tuple[str, str, Result | None]]) -> str:
    lines = ["| | command | measured on |", "|---|---|---|"]
    for what, target, found in rows:
        own = "" if found is None else found.get("command", "")
        command = f"`{target}`" + (f": `{own}`" if own else "")
        lines.append(f"| {what} | {command} | {NONE if found is None else where(found)} |")
    return "\n".join(lines)


def where(found: Result) -> str:
    """Return the machine and the day of a result."""
    own: Mapping[str, Any] = found.get("machine", {})
    if not own:
        return "two cores; the result does not say when"
    threads = (
        "" if own["threads"] == own["cores"] else f", {own['threads']} thread" + ("s" if own["threads"] > 1 else "")
    )
    others = found.get("cores_of_others", 0.0)
    busy = f", beside programs that kept {others:.1f} cores busy" if others >= NOTICEABLE else ""
    return f"{own['cores']} cores ({own['processor']}){threads}, torch {own['torch']}, {own['date']}{busy}"


def _flower(found: Result) -> Iterator[str]:
    yield "## Beside Flower"
    yield _fill(FLOWER.format(tested=found["tested"], **found["flower"]))
    yield _run("make bench-flower", found)
    yield f"![Seconds of a round of FedAvg in sglr and in Flower]({'speed-flower.svg'})"
    for kind, words in (("simulation", SIMULATED), ("deployed", DEPLOYED)):
        if kind in found:
            yield _fill(words)
            yield _flower_table(found[kind])


FACTS = (
    ("start to the end of the first round, s", "first_round_s", ".1f"),
    ("a round, s", "round_s", ".2f"),
    ("processor seconds of a round", "processor_s", ".2f"),
    ("memory of all processes, MB", "memory_mb", ".0f"),
)


def _flower_table(cases: Mapping[str, Mapping[str, Any]]) -> str:
    lines = ["| | | sglr | Flower | Flower / sglr |", "|---|---|---:|---:|---:|"]
    for name, case in cases.items():
        title = f"{name}, {case['samples']} images each"
        for state, words in STATES.items():
            ours, theirs = case[state]["sglr"], case[state]["flower"]
            for what, key, form in FACTS:
                ratio = f"{theirs[key] / ours[key]:.2f}"
                strong = f"**{ratio}**" if key == "round_s" else ratio
                lines.append(f"| {title} | {words}: {what} | {ours[key]:{form}} | {theirs[key]:{form}} | {strong} |")
                title = ""
        tested = " | ".join(f"{100 * case['quiet'][who]['accuracy']:.1f}" for who in ("sglr", "flower"))
        lines.append(f"| | accuracy after {case['rounds']} rounds, % | {tested} | |")
    return "\n".join(lines)


def _loop(found: Result) -> Iterator[str]:
    yield "## Beside the authors' loop"
    yield _fill(LOOP)
    yield _run("make bench", found)
    lines = ["| model | clients | b | images a second | × the authors' loop | × unsplit | peak memory |"]
    lines.append("|---|---:|---:|---:|---:|---:|---:|")
    for row in found["throughput"]:
        if "skipped" in row:
            lines.append(f"| {row['model']} | {row['clients']:,} | | skipped: {row['skipped']} | | | |")
            continue
        ratios = [f"{row['ratios'][f'sglr / {other}']:.2f}" for other in ("published loop", "unsplit")]
        cells = [row["model"], f"{row['clients']:,}", row["batch"], f"{row['samples_per_second']['sglr']:,}", *ratios]
        lines.append(f"| {' | '.join(map(str, cells))} | {row['peak_bytes'] / 1e9:.1f} GB |")
    yield "\n".join(lines)
    yield "![Speed over the number of clients, against the unsplit model and the authors' loop](scaling.svg)"


def _cyclesl(found: Result) -> Iterator[str]:
    yield "## Beside CycleSL's code"
    yield _fill(CYCLESL)
    yield _run(found["command"], found)
    lines = ["| model | clients | b | sglr, ms a round | CycleSL's code, ms | its / sglr's | in processor time |"]
    lines.append("|---|---:|---:|---:|---:|---:|---:|")
    for row in found["rows"]:
        times = f"{row['sglr']['round_ms']:.1f} | {row['authors']['round_ms']:.1f}"
        ratios = f"{row['authors_to_sglr']:.2f} | {row['processor_authors_to_sglr']:.2f}"
        lines.append(f"| {row['model']} | {row['clients']} | {row['batch']} | {times} | {ratios} |")
    yield "\n".join(lines)


def _neighbour(found: Result) -> Iterator[str]:
    yield "## Beside a busy process"
    yield _fill(NEIGHBOUR)
    yield _run("make bench-neighbour", found)
    yield "![Steps against one thread, by how long threads spin](speed-neighbour.svg)"
    models = found["models"]
    lines = [f"| | {' | '.join(f'{model}, {words}' for model in models for words in STATES.values())} |"]
    lines.append(f"|---|{'---:|' * len(models) * len(STATES)}")
    for name in next(iter(models.values())):
        bold = "**" if name == as_sglr_starts(next(iter(models.values()))) else ""
        each = [
            f"{bold}{models[model][name][state]['to_one_thread']:.2f}{bold}" for model in models for state in STATES
        ]
        lines.append(f"| {bold}{name}{bold} | {' | '.join(each)} |")
    yield "\n".join(lines)


def _start(found: Result) -> Iterator[str]:
    yield "## Start"
    yield _run("make bench", found)
    lines = ["| | processor seconds, least |", "|---|---:|"]
    for name, seconds in found["least_processor_seconds"].items():
        command, comma, rest = name.partition(", ")
        lines.append(f"| `{command}`{comma}{rest} | {seconds:.2f} |")
    yield "\n".join(lines)


def _run(command: str, found: Result) -> str:
    return f"```sh\n{command}\n```\n\nMeasured on {where(found)}."


def _fill(words: str) -> str:
    return fill(" ".join(words.split()), 140, break_long_words=False, break_on_hyphens=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--page", type=Path, default=PAGE, help="the page; charts are written beside it")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the results")
    arguments = parser.parse_args()
    write_page(arguments.page, arguments.results)


if __name__ == "__main__":
    main()
