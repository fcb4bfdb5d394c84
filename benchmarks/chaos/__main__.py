"""Faults of many kinds, done to trainings between sites, beside the same trainings in peace: what is lost?

    python -m benchmarks.chaos --faults 1000 --methods all --seed 1 --jobs 2 --out benchmarks/results/chaos-cpu.json

One program over the command line alone: it starts a real server and its clients, kills, stops and cuts them off, and
starts them again by the same commands. Runs are added until there were so many faults; the same command goes on with a
record that stopped. It ends with 1 if anything was lost.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from threading import Lock
from typing import Any

from benchmarks.chaos.cases import CASES
from benchmarks.chaos.disturbed import disturb
from benchmarks.record import machine

from sglr.storage.files import write_text

ROOT = Path(__file__).parents[2]


class Record:
    """The record in a file, written anew after every run.

    Parameters
    ----------
    path
        The file; runs that it holds stay.
    arguments
        What was asked for.
    """

    def __init__(self, path: Path, arguments: argparse.Namespace) -> None:
        self.path, self.lock = path, Lock()
        before = json.loads(path.read_bytes()) if path.is_file() else {"runs": []}
        self.runs: list[dict[str, Any]] = before["runs"]
        self.machine = machine()
        self.how = {
            "commit": commit(),
            "command": shlex.join(["python", "-m", "benchmarks.chaos", *sys.argv[1:]]),
            "epochs": arguments.epochs,
        }

    def has(self, case: str, seed: int) -> bool:
        """Say whether a run is in it."""
        return any(run["case"] == case and run["seed"] == seed for run in self.runs)

    def faults(self) -> Counter[str]:
        """Return how many faults there were of each kind."""
        total: Counter[str] = Counter()
        for run in self.runs:
            total.update(run["faults"])
        return total

    def add(self, case: str, seed: int, outcome: dict[str, Any]) -> None:
        """Add a run, and write all."""
        with self.lock:
            self.runs.append({"case": case, "seed": seed, **self.how, **outcome})
            faults = self.faults()
            lost = sum(bool(run["lost"]) for run in self.runs)
            content = {
                "machine": self.machine,
                "faults": faults.total(),
                "runs_that_lost": lost,
                "by_kind": dict(faults.most_common()),
                "by_case": {name: self._of(name) for name in CASES},
                "runs": self.runs,
            }
            write_text(self.path, json.dumps(content, indent=1) + "\n")
            done, seconds = sum(outcome["faults"].values()), outcome["seconds"]
            print(f"{case}, seed {seed}: {done} faults in {seconds:.0f} s, lost: {outcome['lost'] or 'nothing'}")
            print(self, flush=True)

    def __str__(self) -> str:
        """Return what it says in one line."""
        lost = sum(bool(run["lost"]) for run in self.runs)
        return f"{self.path}: {self.faults().total()} faults in {len(self.runs)} runs, {lost} of which lost something"

    def _of(self, case: str) -> int:
        return sum(sum(run["faults"].values()) for run in self.runs if run["case"] == case)


def commit() -> str:
    """Return the commit of this checkout."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()


def read() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--faults", type=int, default=1000, help="so many at least, in whole runs, and each method once"
    )
    parser.add_argument("--methods", default="all", help=f"separated by semicolons, of: {'; '.join(CASES)}")
    parser.add_argument("--seed", type=int, default=1, help="of the first run of each method; then the next")
    parser.add_argument("--epochs", type=int, default=60, help="of every run: the more, the more faults")
    parser.add_argument("--jobs", type=int, default=2, help="runs side by side")
    parser.add_argument("--out", type=Path, default=Path("chaos.json"), help="the record")
    parser.add_argument("--keep", type=Path, help="leave the files of runs that lost something here")
    return parser.parse_args()


def main() -> int:
    """Do faults until there were as many as asked for."""
    arguments = read()
    cases = list(CASES) if arguments.methods == "all" else [name.strip() for name in arguments.methods.split(";")]
    if unknown := [case for case in cases if case not in CASES]:
        print(f"unknown methods: {', '.join(unknown)}; known: {'; '.join(CASES)}", file=sys.stderr)
        return 2
    _hear_signals()
    # It reaches the processes, which work elsewhere.
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    record = Record(arguments.out, arguments)
    planned, lock = _plan(cases, arguments.seed), Lock()

    def work() -> None:
        while True:
            with lock:
                case, seed = next(planned)
            # Every method once, whatever the number.
            if seed > arguments.seed and record.faults().total() >= arguments.faults:
                return
            if not record.has(case, seed):
                keep = arguments.keep and arguments.keep / f"{case}-{seed}".replace(" ", "-")
                record.add(case, seed, vars(disturb(case, arguments.epochs, seed, keep)))

    if record.runs:
        print(f"going on with {record}; delete that file to begin anew")
    with ThreadPoolExecutor(arguments.jobs) as pool:
        for job in [pool.submit(work) for _ in range(arguments.jobs)]:
            job.result()
    return int(any(run["lost"] for run in record.runs))


def _hear_signals() -> None:
    """Have processes hear signals that this one was told to ignore, by nohup or for want of a terminal."""
    for number in (signal.SIGHUP, signal.SIGINT):
        if signal.getsignal(number) is signal.SIG_IGN:
            # What is handled here is as usual again in a process that starts; what is ignored is not.
            signal.signal(number, lambda *_: None)


def _plan(cases: list[str], seed: int) -> Iterator[tuple[str, int]]:
    """Every case with the first seed, then with the next, and so on."""
    return ((case, number) for number in count(seed) for case in cases)


if __name__ == "__main__":
    sys.exit(main())
