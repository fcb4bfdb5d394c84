"""Show a running training, and end it cleanly on Ctrl-C and other signals."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from types import FrameType
from typing import Any

from sglr.cli.logs import Logged
from sglr.cli.progress import Live, PlainProgress, Silent
from sglr.cli.streams import silence

HANGUP = getattr(signal, "SIGHUP", None)
"""The signal for a closed terminal; None on systems without it."""


@dataclass(frozen=True)
class Watch:
    """The functions that show a running training.

    Parameters
    ----------
    observe
        Called with events.
    stop
        Returns whether the user wants to stop.
    wait
        Called with what the run waits for.
    above
        Prints lines above a live bar without breaking them; None without a bar.
    write
        Prints a line in the same place as the lines of epochs.
    """

    observe: Callable[[Any], None]
    stop: Callable[[], bool]
    wait: Callable[[str], None]
    above: Callable[[str], None] | None = None
    write: Callable[[str], None] = lambda _: None


@contextmanager
def watching(quiet: bool, log_json: bool = False) -> Iterator[Watch]:
    """Show progress on standard error, live in a terminal; the first Ctrl-C or a hangup requests a stop."""
    with ExitStack() as stack:
        view = Logged() if log_json else Silent() if quiet else Live() if sys.stderr.isatty() else PlainProgress()
        stop = stack.enter_context(_stoppable("stopping after this step; once more stops at once", log_json))
        stack.enter_context(view)
        above = view.print_above if isinstance(view, Live) else None
        yield Watch(view.observe, stop, view.wait, above, view.write)


@contextmanager
def leaving(log_json: bool) -> Iterator[Callable[[], bool]]:
    """Make the first Ctrl-C or a hangup a request to leave a run that continues on the server."""
    with _stoppable("leaving the run; press Ctrl-C again to stop at once", log_json) as asked:
        yield asked


@contextmanager
def draining(log_json: bool) -> Iterator[Callable[[], bool]]:
    """Make the first Ctrl-C or a hangup a request to answer what has come, and nothing further."""
    with _stoppable("answering what has come; press Ctrl-C again to stop at once", log_json) as asked:
        yield asked


@contextmanager
def _stoppable(told: str, log_json: bool) -> Iterator[Callable[[], bool]]:
    """Yield a function that returns True after the first signal to end; a second Ctrl-C ends the process at once."""
    asked = by_hand = False
    terminals = [number for number in (1, 2) if os.isatty(number)]

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal asked, by_hand
        del frame
        if number == HANGUP:
            silence(terminals)
        elif by_hand:
            raise KeyboardInterrupt
        else:
            by_hand = True
        if not asked:
            _tell(told, log_json)
        asked = True

    before = {number: signal.signal(number, ask) for number in _signals()}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _signals() -> list[int]:
    """Return the signals that ask a process to end; a hangup that is ignored, e.g. by nohup, stays ignored."""
    hangup = [] if HANGUP is None or signal.getsignal(HANGUP) is signal.SIG_IGN else [HANGUP]
    return [signal.SIGINT, signal.SIGTERM, *hangup]


def _tell(told: str, log_json: bool) -> None:
    if log_json:
        logging.getLogger("sglr").info(told, extra={"event": "stopping"})
    else:
        # An error raised in the signal handler would abort the step that must finish.
        with suppress(OSError):
            print(told, file=sys.stderr)
