"""Where the clients of a process compute: one at a time, short work at once, long work in a thread of its own.

Handing work to a thread and its result back wakes two threads, and while both run they wait for one interpreter lock.
For a pass of a millisecond that is as much as the pass takes. Work that takes longer would keep messages of other
clients waiting, so it goes to the thread.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self, TypeVar

T = TypeVar("T")

SHORT_SECONDS = 0.005
"""Work that took no longer the last time is done at once."""


class Computing:
    """Does the computations of all clients of a process, one at a time, as a context that ends the thread."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="sglr-computing")
        self._in_thread: set[Future[Any]] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown()

    @property
    def idle(self) -> bool:
        """True if nothing waits for the thread or runs in it."""
        return not self._in_thread

    async def run(self, work: Callable[[], T], *, short: bool) -> T:
        """Return what ``work`` returns; ``short`` work is done at once, unless other work is under way.

        Parameters
        ----------
        work
            What is to be done; what it raises is raised here.
        short
            Whether it is expected to take no longer than `SHORT_SECONDS`.
        """
        if short and self.idle:
            return work()
        future = self._thread.submit(work)
        self._in_thread.add(future)
        # When it is over, not when its caller goes on, who may have been cancelled.
        future.add_done_callback(self._in_thread.discard)
        return await asyncio.wrap_future(future)


class Durations:
    """How long work of each kind took the last time, to tell which is short.

    Parameters
    ----------
    kinds
        Kinds that can be short; others, such as those that write files, never are.
    """

    def __init__(self, kinds: frozenset[str]) -> None:
        self._kinds = kinds
        self._last: dict[str, float] = {}

    def short(self, kind: str) -> bool:
        """Return whether work of a kind is expected to be short: not before it was done once."""
        return self._last.get(kind, SHORT_SECONDS) < SHORT_SECONDS

    def timed(self, kind: str, work: Callable[[], T]) -> T:
        """Do work, and note how much processor time it took: how long depends on what else runs on the machine."""
        started = time.thread_time()
        try:
            return work()
        finally:
            if kind in self._kinds:
                self._last[kind] = time.thread_time() - started
