"""The goals of docs/results/speed.md: how each is read from a result, and what bounds those that are missed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from record import RESULTS
from sglr.report.numbers import NONE

Result = Mapping[str, Any]


@dataclass(frozen=True)
class Measured:
    """What was found for a goal.

    Parameters
    ----------
    text
        The figures, as the table has them.
    met
        Whether the goal is met.
    """

    text: str
    met: bool


@dataclass(frozen=True)
class Goal:
    """A goal, and how it is read from a result.

    Parameters
    ----------
    what, goal
        What is measured, and what it shall be.
    record
        The result's file, without ``-cpu.json``.
    command
        What measures it.
    read
        Finds the figures in the result.
    bound
        Why it is missed, where it is.
    """

    what: str
    goal: str
    record: str
    command: str
    read: Callable[[Result], Measured]
    bound: str


def result(name: str, folder: Path = RESULTS) -> Result | None:
    """Return a benchmark's kept result; None if there is none."""
    path = folder / f"{name}-cpu.json"
    found: Result | None = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    return found


def as_sglr_starts(rates: Mapping[str, Any]) -> str:
    """Return the contender of benchmarks/neighbour.py that stands for ``sglr train`` without flags."""
    return "as sglr starts" if "as sglr starts" in rates else "all cores, 1,000 spins"


def busy_neighbour(found: Result) -> Measured:
    """Steps beside a busy process, against those of one thread beside it."""
    ratios = {
        model: rates[as_sglr_starts(rates)]["one neighbour"]["to_one_thread"]
        for model, rates in found["models"].items()
    }
    return Measured(_each(ratios), min(ratios.values()) >= 0.95)


def large_stack(found: Result) -> Measured:
    """Time per client with the most clients against that with the fewest, and how near it is to the memory's speed."""
    counts = sorted(found["clients"], key=int)
    few, many = found["clients"][counts[0]], found["clients"][counts[-1]]
    ratio, share = many["ms_per_client"] / few["ms_per_client"], many.get("share_of_adam")
    text = f"{ratio:.2f} ×" + ("" if share is None else f"; {share:.2f} of fused Adam's bandwidth")
    return Measured(text, ratio <= 1.1 and share is not None and share >= 0.6)


def slow_link(found: Result) -> Measured:
    """The shortest step over the link with int8 and batches ahead, against the least that it could take."""
    ahead = {row["pipelining"]: row["of_least"] for row in found["rows"] if row["compression"] == "int8"}
    ratios = {depth: ratio for depth, ratio in ahead.items() if depth}
    text = ", ".join(f"{ratio:.2f} with {depth} ahead" for depth, ratio in ratios.items())
    return Measured(text, min(ratios.values()) <= 1.3)


def time_to_accuracy(found: Result) -> Measured:
    """Modelled time of the fastest split method to the score, against the fastest FedAvg's, by model and device."""
    ratios = {
        name: {device: _of_fl(rows["final"], device) for device in found["devices"]}
        for name, rows in found["models"].items()
    }
    texts = [
        f"{MODELS[name]}: "
        + ", ".join(f"{device} {NONE if ratio is None else f'{ratio:.2f}'}" for device, ratio in own.items())
        for name, own in ratios.items()
    ]
    met = all(ratio is not None and ratio <= LONGEST[name] for name, own in ratios.items() for ratio in own.values())
    return Measured("; ".join(texts), met)


MODELS = {"small": "0.4 MB", "large": "50 MB"}
LONGEST = {"small": 1.5, "large": 0.5}


def _of_fl(rows: Sequence[Result], device: str) -> float | None:
    """Return the least mean time of split methods by FedAvg's; None where not all seeds of any setting got there."""
    times: dict[str, list[float | None]] = {}
    for row in rows:
        times.setdefault(json.dumps(row["settings"], sort_keys=True), []).append(row["seconds"][device])
    means = {name: fmean(each) for name, each in times.items() if None not in each}
    least = [
        min((mean for name, mean in means.items() if (json.loads(name)["method"] == "fl") == whole), default=None)
        for whole in (True, False)
    ]
    return None if None in least else least[1] / least[0]


def wire(found: Result) -> Measured:
    """Twenty clients' exchange beyond computing against a bare echo, by processes; judged with one for each core."""
    if "ratio" in found:  # of a result whose clients were all in one process
        return Measured(f"in one process {found['ratio']:.2f} ×", found["ratio"] <= 1.5)
    ratios = {int(name.split()[0]): own["ratios"]["time"] for name, own in found.items() if name.endswith(" processes")}
    text = ", ".join(f"{ratio:.2f} × in {number}" for number, ratio in ratios.items())
    return Measured(f"{text} processes", ratios[found["machine"]["cores"]] <= 1.5)


def idle_clients(found: Result) -> Measured:
    """How long 500 clients take to join, and what they add to the server's memory."""
    own = found["500 idle"]
    text = f"{own['joining_s']:.1f} s, {own['clients_mb']:.0f} MB"
    if (bare := found.get("500 bare")) is not None:
        text += f"; those of a bare gRPC server add {bare['clients_mb']:.0f} MB"
    return Measured(text, own["joining_s"] <= 5 and own["clients_mb"] <= 60)


def start(found: Result) -> Measured:
    """The first step against the import of torch, and help, in processor seconds."""
    seconds = found["least_processor_seconds"]
    ratio, told = seconds["sglr train, to its first step"] / seconds["import torch"], seconds["sglr train --help"]
    return Measured(f"{ratio:.2f} ×; {told:.2f} s", ratio <= 1.5 and told <= 0.7)


def flower(found: Result) -> Measured:
    """How many times as long Flower's round takes in simulation, in each case."""
    cases = {name: case["flower_to_sglr"] for name, case in found["simulation"].items()}
    text = "; ".join(f"{name}: {own['quiet']:.2f}, busy {own['one neighbour']:.2f}" for name, own in cases.items())
    return Measured(text, all(own["quiet"] >= 2 and own["one neighbour"] >= 1 for own in cases.values()))


STATES = {"quiet": "quiet", "one neighbour": "beside a busy process"}


def _each(ratios: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {ratio:.2f}" for name, ratio in ratios.items())


GOALS = (
    Goal(
        "all cores beside a busy process, against one thread beside it",
        "≥ 0.95",
        "neighbour",
        "make bench-neighbour",
        busy_neighbour,
        "The thread that shares its core with the other process gets half of it, and at the end of every operation the "
        "others wait for it; one thread alone never shares. Fewer spins lose less there, and more in quiet.",
    ),
    Goal(
        "MLP, time per client at 4,000 clients against 1,000; a step's bandwidth against fused Adam's",
        "≤ 1.1; ≥ 0.6",
        "large_stack",
        "make bench",
        large_stack,
        "Weights, gradients and two moments of every client are read and written in every step. With eight samples of "
        "each the products of matrices compute 53 µs a client even where all lies in the cache, and Adam takes 56: "
        "0.66 of its bandwidth is the most there is. From memory the products take 110.",
    ),
    Goal(
        "100 ms, 20 Mbit/s, int8, batches ahead: a step against the longer of computing and one-way transfer",
        "≤ 1.3",
        "link-steps",
        "make bench-remote",
        slow_link,
        "A step waits for half a round trip for every batch that is not ahead.",
    ),
    Goal(
        "the same link, modelled: the best split method's time to 75 % against FedAvg's, for the small CNN and for a "
        "model of 50 MB at the server",
        "≤ 1.5; ≤ 0.5",
        "time-to-accuracy",
        "make bench",
        time_to_accuracy,
        "A step waits for a round trip and sends its batch; a round of FedAvg sends the weights, and all steps between "
        "two rounds send nothing.",
    ),
    Goal(
        "20 clients × 256 KiB each way, a process for each core, beyond a bare gRPC echo of as many processes",
        "≤ 1.5",
        "remote",
        "make bench-remote",
        wire,
        "Processor time: beyond passes, clients and server take twice what an echo takes. Half of that is gRPC's, "
        "encryption included, under the interpreter lock of each process. The rest is copies into the joint batch, "
        "norms of what came, messages written and read, and two threads of the server that share a lock.",
    ),
    Goal(
        "500 idle clients: to join; memory beyond the server's own",
        "≤ 5 s; ≤ 60 MB",
        "many_clients",
        "make bench-remote",
        idle_clients,
        "A bare gRPC server with mutual TLS takes 62 MB for as many streams. A client that joins makes two "
        "connections, with its token and with its certificate, and both sides write keys and records to the disk; the "
        "server takes 7.5 ms of processor time for it, where a bare server takes 1.5 for a stream.",
    ),
    Goal(
        "first step of `sglr train` against `import torch`; `sglr train --help`",
        "≤ 1.5; ≤ 0.7 s",
        "startup",
        "make bench",
        start,
        "What is imported beside torch.",
    ),
    Goal(
        "Flower's simulation: how many times as long a round of FedAvg takes",
        "quiet ≥ 2; busy ≥ 1",
        "flower",
        "make bench-flower",
        flower,
        "Profiled on one thread with batches of 32: half of a round is convolutions, a third passes over each element "
        "(copies, ReLU, pooling). A plain loop of the same steps takes 1.36 times its processor time, and 1.75 times "
        "with batches of 8: that, and what Ray and messages take, is all there is to gain. Flower's processes use both "
        "cores whole, sglr's two threads 1.6 of them.",
    ),
)


def goal_rows(folder: Path = RESULTS) -> Iterator[tuple[Goal, Result | None, Measured | None]]:
    """Yield each goal with its result and what was found; None for what was not measured."""
    for goal in GOALS:
        found = result(goal.record, folder)
        yield goal, found, None if found is None else goal.read(found)
