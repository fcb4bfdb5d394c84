"""Train sweeps in the order of their seeds, so that what is done at any time is balanced; the same command goes on.

    python benchmarks/seed_by_seed.py benchmarks/paper_length/table4-cnn.toml --out runs/paper-length --hours 3

Each grid becomes the folder of an ordinary sweep, named like its file; `sglr sweep GRID --out FOLDER` ends it with a
table. A training that fails is told, and stops nobody; the command then ends with 1.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any

import torch

from sglr.core.data import Dataset
from sglr.core.errors import Interrupted, SglrError
from sglr.storage.files import write_text
from sglr.studies.scheduler.datasets import Datasets
from sglr.studies.scheduler.outcome import read_outcome
from sglr.studies.scheduler.run_all import run_all
from sglr.studies.scheduler.trial import Trial
from sglr.studies.sweeps.sweep import GRID_FILE, SweepPlan, plan


def planned(grid: str | Path | Mapping[str, Any], out: Path, dataset: Dataset | None = None) -> SweepPlan:
    """Check a grid, and return what it trains in ``out``."""
    return plan(grid, out=out, limit=10_000, **({} if dataset is None else {"dataset": dataset}))


def begin(sweep: SweepPlan) -> None:
    """Make a sweep's folder an ordinary one, which ``sglr sweep`` takes up."""
    sweep.folder.mkdir(parents=True, exist_ok=True)
    write_text(sweep.folder / GRID_FILE, sweep.grid.to_toml())


def in_order(sweeps: Sequence[SweepPlan]) -> Iterator[tuple[SweepPlan, Trial]]:
    """Yield all trials, of every configuration in every sweep the first seed before any second one."""
    trials = [(sweep, trial) for sweep in sweeps for trial in sweep.trials]
    number: dict[tuple[Path, str], int] = {}
    rounds: list[list[tuple[SweepPlan, Trial]]] = []
    for sweep, trial in trials:
        place = number.get((sweep.folder, trial.label), 0)
        number[sweep.folder, trial.label] = place + 1
        if place == len(rounds):
            rounds.append([])
        rounds[place].append((sweep, trial))
    for every in rounds:
        yield from every


@contextmanager
def stopping(hours: float | None) -> Iterator[Callable[[], bool]]:
    """Yield what says whether to stop: after some hours, or when the process is asked to end."""
    end, asked = None if hours is None else time.monotonic() + 3600 * hours, Event()
    before = {number: signal.signal(number, lambda *_: asked.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: asked.is_set() or (end is not None and time.monotonic() >= end)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def nowhere(sweep: SweepPlan, trial: Trial) -> bool:
    """Return False: nothing is done but what lies in the sweeps' folders."""
    del sweep, trial
    return False


def train(
    sweeps: Sequence[SweepPlan],
    stop: Callable[[], bool],
    elsewhere: Callable[[SweepPlan, Trial], bool] = nowhere,
) -> list[str]:
    """Train all that is not done, here or elsewhere; return what failed, in a line each."""
    torch.set_num_threads(1)
    for sweep in sweeps:
        begin(sweep)
    every = list(in_order(sweeps))
    left = [
        (sweep, trial)
        for sweep, trial in every
        if read_outcome(trial.experiment, trial.path) is None and not elsewhere(sweep, trial)
    ]
    print(f"{len(every) - len(left)} of {len(every)} runs were done before", flush=True)
    failed: list[str] = []
    datasets = {sweep.dataset and sweep.dataset.name: Datasets(sweep.dataset) for sweep in sweeps}
    for number, (sweep, trial) in enumerate(left, len(every) - len(left) + 1):
        name = (
            f"[{number}/{len(every)}] {sweep.folder.parent.name}/{sweep.folder.name}: {trial.label}, seed {trial.seed}"
        )
        started = time.perf_counter()
        try:
            (outcome,) = run_all([trial], stop=stop, datasets=datasets[sweep.dataset and sweep.dataset.name])
        except Interrupted:
            print(f"{name}: stopped; the same command goes on", flush=True)
            break
        except Exception as error:
            if not isinstance(error, SglrError):
                traceback.print_exc()
            failed.append(f"{name}: {type(error).__name__}: {error}")
            print(failed[-1], flush=True)
            continue
        told = f"{100 * outcome.score:.2f}" if outcome.score is not None else f"diverged: {outcome.problem}"
        print(f"{name}: {told} in {time.perf_counter() - started:.1f} s", flush=True)
    return failed


def finish(failed: Sequence[str]) -> None:
    """End the process, with 1 if a training failed."""
    if failed:
        sys.exit("\n".join(f"failed: {line}" for line in failed))


def read_study(
    argv: Sequence[str] | None, about: str | None, name: str, choose: Callable[[argparse.ArgumentParser], None]
) -> argparse.Namespace:
    """Read the words of a study that trains, and writes a page; ``choose`` adds the options that choose a part of it.

    Its runs are in the folder ``runs/NAME``, its page is ``docs/results/NAME.md``.
    """
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for word, does in (("train", "train what is not done"), ("page", "write the page of what is done")):
        command = commands.add_parser(word, help=does)
        command.add_argument("--out", type=Path, default=Path("runs") / name, help="folder of the runs")
        choose(command)
        command.add_argument("--seeds", type=int, help="how many of the seeds; default: all")
        command.add_argument("--anew", action="store_true", help="leave the committed record out of it")
        command.add_argument("--scale", choices=("full", "smoke"), default="full", help="smoke trains next to nothing")
        if word == "train":
            command.add_argument("--hours", type=float, help="stop in good order after so long")
        else:
            command.add_argument("--page", type=Path, help=f"file to write; default: docs/results/{name}.md")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("grids", type=Path, nargs="+", help="files as for sglr sweep")
    parser.add_argument("--out", type=Path, default=Path("runs"), help="folder of the sweeps' folders")
    parser.add_argument("--hours", type=float, help="stop in good order after so long; default: when all is done")
    options = parser.parse_args(argv)
    sweeps = [planned(grid, options.out / grid.stem) for grid in options.grids]
    with stopping(options.hours) as stop:
        failed = train(sweeps, stop)
    finish(failed)


if __name__ == "__main__":
    main()
