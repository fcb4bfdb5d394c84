"""One training under faults, and what it found out beside the same training in peace."""

from __future__ import annotations

import json
import shutil
import socket
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from random import Random
from threading import Lock
from typing import Any

from benchmarks.chaos.cases import flags
from benchmarks.chaos.faults import KINDS, Kind, Scene
from benchmarks.chaos.machine import Disk, by_the_rules, compiled_clock
from benchmarks.chaos.processes import LostError, Processes
from benchmarks.chaos.proxy import Proxy

SOON = 0.25
"""How often a process is disturbed while it still starts; mostly the next fault waits until training goes on."""

REST_SECONDS = 45.0
"""How long it waits for that at most."""

TOGETHER = 0.4
"""How often a fault of the network comes beside another."""

CALM_SECONDS = 900.0
LATENCY = 0.05
"""Of the line between faults, each way, in seconds: a training that waits leaves the processors to those that start."""

FOUND = ("weights_sha256", "communication", "validation", "test")
TIMES = ("seconds",)


@dataclass
class Outcome:
    """What was done to a run, and what it lost.

    Parameters
    ----------
    faults
        How many of each kind.
    lost
        Differences from the run in peace, and what went wrong on the way; empty if nothing did.
    excused
        How often a process could not begin for want of space or permission, said so, and was started again.
    seconds
        How long it took.
    """

    faults: Counter[str] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)
    excused: int = 0
    seconds: float = 0.0


def possible(library: Path | None, disk: Disk) -> list[Kind]:
    """Return the kinds of faults that can be done on this machine."""
    there = {"": True, "disk": disk.small, "clock": library is not None, "permissions": by_the_rules() is not None}
    return [kind for kind in KINDS if there[kind.needs]]


@contextmanager
def place(keep: Path | None = None) -> Iterator[tuple[Path, Disk, Path | None]]:
    """Make a folder for one run: what is said, the disk, and the clock's library; it is kept only if asked."""
    folder = Path(tempfile.mkdtemp(prefix="sglr-chaos-"))
    disk = Disk(folder / "disk")
    try:
        yield folder, disk, compiled_clock(folder)
    finally:
        if keep is not None:
            shutil.copytree(folder, keep, dirs_exist_ok=True)
        disk.remove()
        shutil.rmtree(folder, ignore_errors=True)


def free_port() -> int:
    """Return a port that nobody has at the moment."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


_one_at_a_time: dict[tuple[str, int], Lock] = {}


def in_peace(case: str, epochs: int) -> dict[str, Any]:
    """Train without a fault, once, and return what the run found out."""
    with _one_at_a_time.setdefault((case, epochs), Lock()):
        return _in_peace(case, epochs)


@cache
def _in_peace(case: str, epochs: int) -> dict[str, Any]:
    with place() as (folder, disk, library):
        processes = Processes(folder, disk, library)
        port = free_port()
        processes.plan(flags(case, epochs), port, port)
        try:
            processes.begin()
            processes.finish(CALM_SECONDS)
            return results(processes.run)
        finally:
            processes.kill()


def disturb(case: str, epochs: int, seed: int, keep: Path | None = None) -> Outcome:
    """Train under faults until the training is over, and compare.

    Parameters
    ----------
    case
        What is trained.
    epochs
        How long.
    seed
        Begins the draws of faults; when each comes depends on the machine, too.
    keep
        Where to leave all files if something was lost.
    """
    peace = in_peace(case, epochs)
    outcome, began = Outcome(), time.monotonic()
    with ExitStack() as stack:
        folder, disk, library = stack.enter_context(place(keep))
        processes = Processes(folder, disk, library)
        port = free_port()
        proxy = stack.enter_context(Proxy(port, seed))
        stack.callback(processes.kill)
        processes.plan(flags(case, epochs), port, proxy.port)
        scene = Scene(processes, proxy, Random(f"{seed} {case}"))
        try:
            _train(scene, possible(library, disk), outcome)
            outcome.lost += differences(peace, results(processes.run))
        except LostError as error:
            outcome.lost.append(str(error))
        outcome.lost += processes.tracebacks()
        outcome.excused = processes.excused
    outcome.seconds = time.monotonic() - began
    if keep is not None and not outcome.lost:
        shutil.rmtree(keep)
    return outcome


def _train(scene: Scene, kinds: list[Kind], outcome: Outcome) -> None:
    processes = scene.processes
    _calm(scene)
    processes.begin()
    while not any(processes.over(name) for name in processes.running):
        _do(scene, _drawn(kinds, scene.rng), outcome)
    processes.finish(CALM_SECONDS)


def _drawn(kinds: list[Kind], rng: Random) -> list[Kind]:
    """Draw a fault, and sometimes one of the network beside it."""
    [first] = rng.choices(kinds, [kind.weight for kind in kinds])
    line = [kind for kind in kinds if kind.network]
    return [first, rng.choice(line)] if not first.network and rng.random() < TOGETHER else [first]


def _do(scene: Scene, kinds: list[Kind], outcome: Outcome) -> None:
    """Do faults at the same time, undo them, and let the processes go on for a moment."""
    rng = scene.rng
    with ExitStack() as stack:
        for kind in kinds:
            outcome.faults[kind.name] += 1
            _note(scene, kind.name)
            stack.enter_context(kind.do(scene))
        time.sleep(max(rng.uniform(*kind.seconds) for kind in kinds))
    _calm(scene)
    if any(kind.restarts for kind in kinds) and rng.random() > SOON:
        _until_it_goes_on(scene.processes)
    time.sleep(rng.uniform(0, 1))


def _until_it_goes_on(processes: Processes) -> None:
    before, end = processes.steps(), time.monotonic() + REST_SECONDS
    while processes.steps() == before and time.monotonic() < end:
        if any(processes.over(name) for name in processes.running):
            return
        time.sleep(0.2)


def _note(scene: Scene, name: str) -> None:
    """Say in the run's folder what happened when, for whoever looks for the cause of a loss."""
    with (scene.processes.folder / "faults.txt").open("a", encoding="utf-8") as file:
        file.write(f"{time.monotonic():.1f} after epoch {scene.processes.epochs()}: {name}\n")


def _calm(scene: Scene) -> None:
    scene.proxy.delay(LATENCY)


def results(run: Path) -> dict[str, Any]:
    """Return all that a run found out, without how long it took."""
    summary = json.loads((run / "summary.json").read_bytes())
    found = {name: summary[name] for name in FOUND}
    for number, line in enumerate((run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()):
        record = json.loads(line)
        found[f"record {number + 1}"] = {name: value for name, value in record.items() if name not in TIMES}
    return found


def differences(peace: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """Name what differs."""
    names = [name for name in (*peace, *found) if peace.get(name) != found.get(name)]
    return [f"{name}: {found.get(name)} instead of {peace.get(name)}" for name in dict.fromkeys(names)]
