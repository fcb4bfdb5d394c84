"""A training whose rounds begin when they may, so that trainings of several processes can take turns."""

from __future__ import annotations

import os
import select
import time
from dataclasses import dataclass, field
from pathlib import Path

from beside.family import Family

PATIENCE = 240.0
"""Seconds that a round may take on a busy machine."""


@dataclass
class Turn:
    """What a round took: seconds, processor seconds of all processes, and the bytes that they held at its end."""

    seconds: float
    processor_seconds: float
    memory: int


@dataclass
class Contender:
    """A training that writes a line to the pipe ``done`` after each round, and reads one from ``go`` before the next.

    Parameters
    ----------
    folder
        An empty folder: pipes are made in it.
    """

    folder: Path
    family: Family = field(init=False)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.family = Family(self.folder)
        self._pipes = {}
        for name in ("go", "done"):
            os.mkfifo(self.folder / name)
            # Open both ways, a pipe waits for nobody who opens its other end.
            self._pipes[name] = os.open(self.folder / name, os.O_RDWR | os.O_NONBLOCK)

    def first(self, started: float) -> float:
        """Return the seconds from a moment (`time.perf_counter`) to the end of the first round."""
        self._wait()
        return time.perf_counter() - started

    def turn(self) -> Turn:
        """Let it train one more round."""
        before, started = self.family.processor_seconds(), time.perf_counter()
        os.write(self._pipes["go"], b"go\n")
        self._wait()
        taken = time.perf_counter() - started
        return Turn(taken, self.family.processor_seconds() - before, self.family.memory())

    def finish(self) -> None:
        """Let it end after its last round, and wait for that."""
        os.write(self._pipes["go"], b"go\n")

    def end(self) -> None:
        """End all its processes."""
        self.family.end()
        for pipe in self._pipes.values():
            os.close(pipe)

    def _wait(self) -> None:
        limit = time.monotonic() + PATIENCE
        while not select.select([self._pipes["done"]], [], [], 0.5)[0]:
            ended = [process.args for process in self.family.started if process.poll() not in (None, 0)]
            if ended or time.monotonic() > limit:
                raise SystemExit(f"no round ends (ended: {ended}):\n{self.family.log()}")
        os.read(self._pipes["done"], 100)
