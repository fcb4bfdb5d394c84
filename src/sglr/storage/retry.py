"""Writing while others wait: a full disk is no reason to lose what they did."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

from sglr.core.errors import NotWritten

T = TypeVar("T")

FIRST_WAIT, LONGEST_WAIT, LOOK_SECONDS = 0.5, 30.0, 0.2
"""Seconds between attempts, doubled each time, with jitter; how often a wait looks whether to give up."""


def write_patiently(write: Callable[[], T], give_up: Callable[[], bool], say: Callable[[str], None]) -> T:
    """Write; again and again, with growing pauses, as long as it can't be done.

    Parameters
    ----------
    write
        What writes, whole or not at all.
    give_up
        Asked, while it waits, whether to give up.
    say
        Told once what is wrong.

    Raises
    ------
    OSError, NotWritten
        If it could not be written when it gave up.
    """
    wait = FIRST_WAIT
    while True:
        try:
            return write()
        except (OSError, NotWritten) as error:
            if wait == FIRST_WAIT:
                say(f"{error}; trying again until it works: free some space")
            if _gave_up(wait * random.uniform(0.5, 1.0), give_up):
                raise
        wait = min(2 * wait, LONGEST_WAIT)


def _gave_up(seconds: float, give_up: Callable[[], bool]) -> bool:
    until = time.monotonic() + seconds
    while not (over := give_up()) and time.monotonic() < until:
        time.sleep(LOOK_SECONDS)
    return over
