"""Looks at a view while somebody is there to see it, once for all browsers, and tells each what has changed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

from sglr.live.view import Sections, View, changes

MOST_WAITING = 20
"""Messages that a slow browser may be behind; then it gets everything anew."""

STILL_SECONDS = 10.0
"""After so long without a change ``still`` is sent, by which both sides notice that the other is gone."""

STILL, END = (f"event: {name}\ndata: {{}}\n\n".encode() for name in ("still", "end"))


class Hub:
    """One view and the browsers that look at it.

    Parameters
    ----------
    view
        What is shown.
    ending
        Returns whether the page's process is about to end.
    """

    def __init__(self, view: View, ending: Callable[[], bool]) -> None:
        self._view, self._ending = view, ending
        self._shown: Sections = {}
        self._queues: set[asyncio.Queue[bytes | None]] = set()
        self._task: asyncio.Task[None] | None = None

    @property
    def watched(self) -> bool:
        """True if somebody looks."""
        return bool(self._queues)

    async def events(self) -> AsyncIterator[bytes]:
        """Yield server-sent events: ``all`` with all sections, then ``change`` with what differs, until ``end``."""
        queue: asyncio.Queue[bytes | None] = asyncio.Queue(MOST_WAITING)
        if not self._queues:
            self._shown = await asyncio.to_thread(self._view.read)
        self._queues.add(queue)
        if self._task is None:
            self._task = asyncio.create_task(self._look())
        try:
            yield _event("all", self._shown)
            while True:
                message = await self._next(queue)
                if message is None:
                    message = _event("all", self._shown)
                yield message
                if message is END:
                    return
        finally:
            self._queues.discard(queue)
            if not self._queues and self._task is not None:
                self._task.cancel()
                self._task = None

    async def _next(self, queue: asyncio.Queue[bytes | None]) -> bytes | None:
        try:
            return await asyncio.wait_for(queue.get(), STILL_SECONDS)
        except TimeoutError:
            return STILL

    async def _look(self) -> None:
        """Look again and again; what has changed since is told once to everyone."""
        while True:
            over = self._ending()
            now = await asyncio.to_thread(self._view.read)
            found = changes(self._shown, now)
            self._shown = now
            if found:
                self._tell(_event("change", found))
            if over:
                return self._tell(END)
            await asyncio.sleep(self._view.seconds)

    def _tell(self, message: bytes) -> None:
        for queue in self._queues:
            if queue.full():
                while not queue.empty():
                    queue.get_nowait()
                queue.put_nowait(message if message is END else None)
            else:
                queue.put_nowait(message)


def _event(name: str, content: Any) -> bytes:
    text = json.dumps(content, allow_nan=False, separators=(",", ":"))
    return f"event: {name}\ndata: {text}\n\n".encode()
