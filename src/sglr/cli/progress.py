"""Progress of a training on standard error: a live bar in a terminal, one line per epoch elsewhere, or nothing."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from sglr.core.types import EpochDone, Event, StepDone
from sglr.report.numbers import count, decimal, duration, percent, points

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class Silent(AbstractContextManager["Silent"]):
    """Shows nothing."""

    def observe(self, event: Event) -> None:
        """Take note of an event."""

    def __exit__(self, *raised: object) -> None:
        pass


class Plain(Silent):
    """Prints one line per epoch."""

    def observe(self, event: Event) -> None:
        """Print the line of a finished epoch."""
        if isinstance(event, EpochDone):
            print(epoch_line(event), file=sys.stderr, flush=True)


class Live(Silent):
    """Shows a bar that moves with every step, and leaves one line per finished epoch above it."""

    def __init__(self) -> None:
        self._bar: Progress = _bar()
        self._task: TaskID = self._bar.add_task("", total=1.0, step="", latest="", speed="", left="")
        self._pace = Pace()
        self._latest = ""

    def __enter__(self) -> Live:
        self._bar.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._bar.stop()

    def observe(self, event: Event) -> None:
        """Move the bar, or print the line of a finished epoch above it."""
        if isinstance(event, EpochDone):
            self._latest = f"loss {decimal(event.record['loss'])}  acc {percent(best_known_accuracy(event.record))}"
            self._bar.console.print(epoch_line(event), highlight=False, soft_wrap=True)
        elif isinstance(event, StepDone):
            self._pace.step(event)
            self._bar.update(
                self._task,
                completed=self._pace.share,
                step=f"epoch {event.epoch + 1}/{event.epochs} step {event.step}/{event.steps}",
                latest=self._latest,
                speed=f"{count(self._pace.samples_per_second)} samples/s",
                left=f"{duration(self._pace.seconds_left)} left",
            )


class Pace:
    """How far a training is and how fast it goes, from its steps."""

    def __init__(self) -> None:
        self.share = 0.0
        self._samples = 0
        self._first: tuple[float, float] | None = None
        self._seconds = 0.0

    def step(self, event: StepDone) -> None:
        """Take note of a step."""
        self.share = (event.epoch + event.step / event.steps) / event.epochs
        now = time.perf_counter()
        if self._first is None:
            # The first step is as long as what it takes to get going; count from its end.
            self._first = now, self.share
            return
        self._seconds = now - self._first[0]
        self._samples += event.samples

    @property
    def samples_per_second(self) -> float | None:
        """Samples per second, pauses for evaluation included; None after a single step."""
        return self._samples / self._seconds if self._seconds else None

    @property
    def seconds_left(self) -> float | None:
        """Seconds to the end if all goes on like this; None after a single step."""
        if self._first is None or self.share <= self._first[1]:
            return None
        return self._seconds * (1 - self.share) / (self.share - self._first[1])


def epoch_line(event: EpochDone) -> str:
    """Return what a finished epoch achieved, in columns that line up from one epoch to the next."""
    record = event.record
    width = len(str(event.epochs))
    parts = [
        f"epoch {event.epoch + 1:>{width}}/{event.epochs}",
        f"loss {decimal(record['loss']):>6}",
        f"train {percent(record['train_accuracy']):>7}",
        _validation(record),
        f"{count(record['samples'] / max(record['seconds'], 1e-9)):>7} samples/s",
        f"{duration(record['seconds']):>7}",
    ]
    return "  ".join(parts)


def best_known_accuracy(record: Mapping[str, Any]) -> float:
    """Return the epoch's validation accuracy, or where there was none its training accuracy."""
    return float(record.get("validation_accuracy", record["train_accuracy"]))


def _validation(record: Mapping[str, Any]) -> str:
    accuracy, spread = record.get("validation_accuracy"), record.get("validation_accuracy_std_over_clients")
    return f"validation {percent(accuracy):>7} {points(spread):<6}"


def _bar() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    return Progress(
        TextColumn("{task.fields[step]}"),
        BarColumn(bar_width=20),
        TextColumn("{task.fields[latest]}"),
        TextColumn("{task.fields[speed]}"),
        TextColumn("{task.fields[left]}"),
        console=Console(stderr=True),
        transient=True,
    )
