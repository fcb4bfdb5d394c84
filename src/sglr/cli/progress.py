"""Progress on standard error: a live bar in a terminal, plain lines elsewhere, or nothing."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from sglr.core.events import EpochDone, StepDone
from sglr.report.numbers import count, decimal, duration
from sglr.report.progress_lines import epoch_line, latest_score
from sglr.studies.scheduler.progress import StudyProgress, TrialStarted, study_line, trial_name

if TYPE_CHECKING:
    from rich.progress import Progress

    from sglr.studies.scheduler.trial import Trial

WIDE = 100
"""Narrowest terminal, in columns, that shows the last epoch's loss beside the bar; the line above always has it."""


class Silent(AbstractContextManager["Silent"]):
    """Shows nothing."""

    def __init__(self) -> None:
        self.write: Callable[[str], None] = lambda _: None

    def observe(self, event: object) -> None:
        """Handle an event."""

    def wait(self, what: str) -> None:
        """Set what the run waits for; empty for nothing."""

    def __exit__(self, *raised: object) -> None:
        pass


class PlainProgress(Silent):
    """Prints one line per epoch; in a study, one line per run."""

    def __init__(self) -> None:
        super().__init__()
        self.study: StudyProgress | None = None
        self.trial: Trial | None = None
        self.write = lambda line: print(line, file=sys.stderr, flush=True)

    def observe(self, event: object) -> None:
        """Print the line of a finished epoch or run."""
        if isinstance(event, TrialStarted):
            self.trial = event.trial
        elif isinstance(event, StudyProgress):
            self.study = event
            if line := study_line(event):
                self.write(line)
        elif isinstance(event, EpochDone) and self.study is None:
            self.write(epoch_line(event))


class Live(PlainProgress):
    """Shows a bar that moves with every step, and leaves the lines of `PlainProgress` above it."""

    def __init__(self) -> None:
        super().__init__()
        self._bar = _bar()
        self._task = self._bar.add_task("", total=1.0, where="starting", latest="", speed="", left="", start=False)
        self._began = time.perf_counter()
        self._pace = Pace()
        self._latest = ""
        self.write = lambda line: self._bar.console.print(line, highlight=False, soft_wrap=True, markup=False)

    def __enter__(self) -> Live:
        self._bar.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._bar.stop()

    def observe(self, event: object) -> None:
        """Move the bar, or print the line of a finished epoch or run above it."""
        super().observe(event)
        if isinstance(event, TrialStarted) and self.study is not None:
            self._pace.begin(self.study.done + 1, self.study.total)
        elif isinstance(event, StudyProgress):
            self._advance(event)
        elif isinstance(event, EpochDone):
            self._latest = f"loss {decimal(event.record.get('loss'))}  {latest_score(event.record)}".rstrip()
        elif isinstance(event, StepDone):
            self._step(event)

    def print_above(self, text: str) -> None:
        """Print lines above the bar without line breaks, which rich would insert."""
        self._bar.stop()
        print(text, file=sys.stderr, flush=True)
        self._bar.start()

    def wait(self, what: str) -> None:
        """Show what the run waits for in place of the steps."""
        self._bar.update(self._task, where=what)

    def _advance(self, event: StudyProgress) -> None:
        trained, left = event.done - event.found, event.total - event.done
        seconds = (time.perf_counter() - self._began) * left / trained if trained else None
        self._bar.update(
            self._task,
            completed=event.done / max(1, event.total),
            where=f"{event.done}/{event.total} runs",
            left="" if seconds is None else f"{duration(seconds)} left",
        )

    @property
    def _trial_name(self) -> str:
        if self.trial is None or self.study is None:
            return ""
        return trial_name(self.trial, self.study.done + 1, self.study.total)

    def _step(self, event: StepDone) -> None:
        self._pace.step(event)
        epoch, step = f"epoch {event.epoch + 1}/{event.epochs}", f"step {event.step}/{event.steps}"
        self._bar.update(
            self._task,
            completed=self._pace.share,
            where=f"{epoch}  {step}" if self.study is None else f"{self._trial_name}  {epoch}",
            latest=self._latest if self.study is None and self._bar.console.width >= WIDE else "",
            speed="" if self._pace.samples_per_second is None else f"{count(self._pace.samples_per_second)} samples/s",
            left="" if self._pace.seconds_left is None else f"{duration(self._pace.seconds_left)} left",
        )


class Pace:
    """The progress, in a study over all its runs, and the speed."""

    def __init__(self) -> None:
        self.share = 0.0
        self._base, self._part = 0.0, 1.0
        self._worked, self._samples, self._seconds = 0.0, 0, 0.0
        self._before: tuple[float, float] | None = None

    def begin(self, number: int, total: int) -> None:
        """Begin with the run ``number`` (from 1) of ``total``."""
        self._base, self._part, self._before = (number - 1) / total, 1 / total, None

    def step(self, event: StepDone) -> None:
        """Count a step; the first of a run only starts the clock, because it includes one-time costs."""
        now = time.perf_counter()
        self.share = self._base + self._part * (event.epoch + event.step / event.steps) / event.epochs
        if self._before is not None:
            then, share = self._before
            self._seconds += now - then
            self._worked += self.share - share
            self._samples += event.samples
        self._before = now, self.share

    @property
    def samples_per_second(self) -> float | None:
        """Samples per second including evaluation, or None after a single step."""
        return self._samples / self._seconds if self._seconds else None

    @property
    def seconds_left(self) -> float | None:
        """Estimated seconds to the end, or None after a single step."""
        return self._seconds * (1 - self.share) / self._worked if self._worked > 0 else None


def _bar() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    fields = ("where", "latest", "speed", "left")
    texts = [TextColumn(f"{{task.fields[{field}]}}", markup=False) for field in fields]
    console = Console(stderr=True)
    return Progress(texts[0], BarColumn(bar_width=16), *texts[1:], console=console, transient=True)
