"""What the live page adds to a training step: whole trainings of many clients, with and without a page, in turn.

``python benchmarks/live_page_steps.py`` prints JSON: processor milliseconds of the training's process per step, which a
busy machine changes less than time on the wall,

- ``nothing``: ``progress.json`` is not written, and nobody looks for a request to stop;
- ``unwatched``: both are done, as in every training, and no page is open;
- ``watched``: a process beside it shows the page, and a third reads its stream of events as a browser does.

``least`` is the least of a kind's runs, ``added`` by how much it exceeds that of ``nothing``; ``spread``, by how much
the median of the runs of ``nothing`` exceeds their least, is noise.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import sglr
from live_page import changes
from record import machine, write_result
from sglr.core.events import Event, StepDone
from sglr.experiment.progress_file import ProgressFile
from sglr.live.beside import page_beside
from sglr.live.server import bind
from sglr.runs.stop_file import StopRequest


class Steps:
    """Measures the processor time from one step to the next of the same epoch."""

    def __init__(self) -> None:
        self._epoch, self._before = -1, 0.0
        self.seconds: list[float] = []

    def __call__(self, event: Event) -> None:
        """Take note of an event."""
        if not isinstance(event, StepDone):
            return
        now = time.process_time()
        if event.epoch == self._epoch:
            self.seconds.append(now - self._before)
        self._epoch, self._before = event.epoch, now


def _untold(file: ProgressFile, event: StepDone) -> None:
    del file, event


def _never(request: StopRequest) -> bool:
    del request
    return False


@contextmanager
def nothing(folder: Path) -> Iterator[None]:
    """Neither write progress nor look for a request to stop."""
    del folder
    with (
        patch("sglr.experiment.progress_file.ProgressFile.step", _untold),
        patch("sglr.runs.stop_file.StopRequest.__call__", _never),
    ):
        yield


@contextmanager
def unwatched(folder: Path) -> Iterator[None]:
    """Train as always."""
    del folder
    yield


@contextmanager
def watched(folder: Path) -> Iterator[None]:
    """Show the run on a page, and read its events in a process of its own."""
    taken = bind("127.0.0.1", 0, "listen")
    port = str(taken.getsockname()[1])
    with page_beside(folder, taken):
        command = [sys.executable, __file__, "--read", port]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as reader:
            assert reader.stdout is not None
            reader.stdout.readline()  # it has the first event
            yield
            reader.terminate()


def read(port: int) -> None:
    """Read a page's events until it ends."""
    for number, _ in enumerate(changes(port)):
        if number == 0:
            print("open", flush=True)


Kind = Callable[[Path], AbstractContextManager[None]]
KINDS: dict[str, Kind] = {"nothing": nothing, "unwatched": unwatched, "watched": watched}


def milliseconds(kind: Kind, folder: Path, settings: dict[str, Any]) -> float:
    """Train, and return the processor time of a step."""
    steps = Steps()
    with kind(folder):
        sglr.train("sglr", out=folder, observe=steps, progress=False, **settings)
    return 1000 * sum(steps.seconds) / len(steps.seconds)


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--keep", action="store_true", help="write the result to benchmarks/results")
    parser.add_argument("--read", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.read:
        read(given.read)
    else:
        measure(given)


def measure(given: argparse.Namespace) -> None:
    """Train in turn, and print what came out."""
    settings = {
        "model": "mlp",
        "clients": given.clients,
        "partition": "resample",
        "samples_per_client": 300,
        "epochs": 2,
        "device": "cpu",
        "checkpoint_every": 0,
    }
    found: dict[str, list[float]] = {name: [] for name in KINDS}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(given.rounds):
            for name in sorted(KINDS, reverse=number % 2 == 1):
                found[name].append(milliseconds(KINDS[name], Path(folder) / f"{name}{number}", settings))
                print(f"{name:10} {found[name][-1]:8.2f} ms", file=sys.stderr, flush=True)
    least = {name: min(runs) for name, runs in found.items()}
    result = {
        "machine": {**machine(), "busy": "other work on all cores"},
        "settings": settings,
        "milliseconds_per_step": found,
        "least": least,
        "added": {name: least[name] / least["nothing"] - 1 for name in ("unwatched", "watched")},
        "spread": median(found["nothing"]) / least["nothing"] - 1,
    }
    write_result("live_page_steps", "cpu", result, keep=given.keep)


if __name__ == "__main__":
    main()
