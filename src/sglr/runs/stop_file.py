"""A request to stop a run, left as a file in its folder: the process that trains there looks for it between steps.

A file, and no signal: it works from another machine on a shared disk, and ends a training in a notebook with a
checkpoint, which a signal would not.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from sglr.core.errors import NotRead
from sglr.storage.files import read_if_there, write_text

STOP = "stop"
"""The file's name."""

STEP, EPOCH = "step", "epoch"
"""What the file says: stop after the step at work, as the first Ctrl-C does, or after the epoch at work."""

LOOK_SECONDS = 0.2
_MOST_BYTES = 16


def request_stop(folder: Path, after: str) -> None:
    """Ask the process that trains in ``folder`` to stop with a checkpoint, after a ``"step"`` or an ``"epoch"``.

    Raises
    ------
    ValueError
        If ``after`` is neither.
    OSError
        If the folder can't be written.
    """
    if after not in (STEP, EPOCH):
        raise ValueError(f"can't stop after {after!r}")
    write_text(folder / STOP, after, durable=False)


def requested_stop(folder: Path) -> str | None:
    """Return ``"step"`` or ``"epoch"`` if a stop is asked for that has not been taken up; else None."""
    try:
        content = read_if_there(folder / STOP, _MOST_BYTES)
    except NotRead:
        return None
    text = (content or b"").decode(errors="replace").strip()
    return text if text in (STEP, EPOCH) else None


class StopRequest:
    """Answers whether a training is to stop: asked as a function, and by a file in the run's folder.

    A request of before this process began is removed unread: it was meant for another. One that was taken up is
    removed, so that the run can be resumed.

    Parameters
    ----------
    folder
        The run's folder, which this process has locked.
    asked
        Whether the user asks for it in another way, as by Ctrl-C.
    """

    def __init__(self, folder: Path, asked: Callable[[], bool]) -> None:
        self._folder, self._asked = folder, asked
        self._after: str | None = None
        self._now = False
        self._next = 0.0
        self._remove()

    def __call__(self) -> bool:
        """Return True if the training is to stop; the file is looked at every `LOOK_SECONDS`."""
        if time.monotonic() >= self._next:
            self._look()
        return self._now or self._asked()

    @property
    def after(self) -> str | None:
        """What a request that was taken up waits for; None without one."""
        return self._after

    def end_epoch(self) -> None:
        """Note that an epoch is over: who asked to stop after it is answered now."""
        self._look()
        self._now = self._now or self._after is not None

    def _look(self) -> None:
        self._next = time.monotonic() + LOOK_SECONDS
        found = requested_stop(self._folder)
        if found is not None:
            self._after = found
            self._now = self._now or found == STEP
            self._remove()

    def _remove(self) -> None:
        with suppress(OSError):
            (self._folder / STOP).unlink(missing_ok=True)
