"""What the user sees of a training under way, and how Ctrl-C ends it cleanly."""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

from sglr.cli.logs import Logged
from sglr.cli.progress import Live, Plain, Silent


@dataclass(frozen=True)
class Watch:
    """What is shown while a training runs.

    Parameters
    ----------
    observe
        Told of events.
    stop
        Says whether the user wants to stop.
    wait
        Told what is waited for.
    above
        Prints lines above a live bar, unbroken however long they are; None where there is no such bar.
    write
        Prints a line where the lines of epochs are.
    """

    observe: Callable[[Any], None]
    stop: Callable[[], bool]
    wait: Callable[[str], None]
    above: Callable[[str], None] | None = None
    write: Callable[[str], None] = lambda _: None


@contextmanager
def watching(quiet: bool, log_json: bool = False) -> Iterator[Watch]:
    """Show progress on standard error, live if it is a terminal; turn the first Ctrl-C into a wish to stop."""
    with ExitStack() as stack:
        view = Logged() if log_json else Silent() if quiet else Live() if sys.stderr.isatty() else Plain()
        stop = stack.enter_context(_stoppable("stopping after this step; once more stops at once", log_json))
        stack.enter_context(view)
        above = view.print_above if isinstance(view, Live) else None
        yield Watch(view.observe, stop, view.wait, above, view.write)


@contextmanager
def leaving(log_json: bool) -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C into a wish to leave a run that goes on elsewhere."""
    with _stoppable("leaving; once more ends at once", log_json) as asked:
        yield asked


@contextmanager
def _stoppable(told: str, log_json: bool) -> Iterator[Callable[[], bool]]:
    """Answer True once the process was told to end; told again, it ends at once."""
    asked = False

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        del number, frame
        if asked:
            raise KeyboardInterrupt
        asked = True
        if log_json:
            logging.getLogger("sglr").info(told, extra={"event": "stopping"})
        else:
            print(told, file=sys.stderr)

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
