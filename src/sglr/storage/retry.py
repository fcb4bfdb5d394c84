"""Retry writing, so that a full disk does not lose a run's progress."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

from sglr.core.errors import NotWritten

T = TypeVar("T")

FIRST_WAIT, LONGEST_WAIT, LOOK_SECONDS = 0.5, 30.0, 0.2
"""Seconds between attempts, doubled each time, with jitter; and between checks whether to give up."""


def write_patiently(write: Callable[[], T], give_up: Callable[[], bool], say: Callable[[str], None]) -> T:
    """Write, and retry with growing pauses until it succeeds.

    Parameters
    ----------
    write
        Writes, whole or not at all.
    give_up
        Called while waiting; returns whether to give up.
    say
        Called once with a message about the error.

    Raises
    ------
    OSError, NotWritten
        If it gave up before writing succeeded.
    """
    wait = FIRST_WAIT
    while True:
        try:
            return write()
        except (OSError, NotWritten) as error:
            if wait == FIRST_WAIT:
                say(f"{error}; retrying until it succeeds: free some disk space")
            if _gave_up(wait * random.uniform(0.5, 1.0), give_up):
                raise
        wait = min(2 * wait, LONGEST_WAIT)


def _gave_up(seconds: float, give_up: Callable[[], bool]) -> bool:
    until = time.monotonic() + seconds
    while not (over := give_up()) and time.monotonic() < until:
        time.sleep(LOOK_SECONDS)
    return over
