"""Progress in a notebook: one output below the cell, a bar that moves and a line for every epoch."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from html import escape
from importlib import import_module
from typing import Any

from sglr.core.events import EpochDone, Event, StepDone
from sglr.report.progress_lines import epoch_line

EVERY_SECONDS = 0.3
"""Between two moves of the bar: each is a message to the browser."""


class NotebookProgress:
    """Shows a training in a notebook; a saved notebook keeps the lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.share, self.where = 0.0, ""
        self._moved = 0.0
        self._output: Any = None

    def observe(self, event: Event) -> None:
        """Move the bar, or add the line of a finished epoch."""
        if isinstance(event, StepDone):
            where = f"epoch {event.epoch + 1}/{event.epochs}  step {event.step}/{event.steps}"
            self.move((event.epoch + event.step / event.steps) / event.epochs, where)
        elif isinstance(event, EpochDone):
            self.add(epoch_line(event), (event.epoch + 1) / event.epochs)

    def move(self, share: float, where: str) -> None:
        """Move the bar, unless it was moved a moment ago."""
        self.share, self.where = share, where
        if time.monotonic() - self._moved >= EVERY_SECONDS:
            self._show()

    def add(self, line: str, share: float) -> None:
        """Add a line."""
        self.share = share
        self.lines += [line] if line else []
        self._show()

    def _show(self) -> None:
        self._moved = time.monotonic()
        if self._output is None:
            self._output = import_module("IPython.display").display(self, display_id=True)
        else:
            self._output.update(self)

    def __repr__(self) -> str:
        return "\n".join(self.lines) or self.where

    def _repr_html_(self) -> str:
        bar = f'<progress value="{self.share:.3f}"></progress> {escape(self.where)}' if self.share < 1 else ""
        lines = f"<pre>{escape(chr(10).join(self.lines))}</pre>" if self.lines else ""
        return f"<div>{lines}{bar}</div>"


def in_notebook() -> bool:
    """Say whether this is a notebook's kernel, which shows HTML."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return hasattr(shell, "kernel")


def print_epochs(event: Event) -> None:
    """Print the line of a finished epoch on standard error."""
    if isinstance(event, EpochDone):
        sys.stderr.write(f"{epoch_line(event)}\n")


def shown(progress: bool | None) -> Callable[[Event], None] | None:
    """Return what shows the progress: in a notebook a bar, elsewhere lines, there only if they are asked for."""
    if in_notebook() and progress is not False:
        return NotebookProgress().observe
    return print_epochs if progress else None
