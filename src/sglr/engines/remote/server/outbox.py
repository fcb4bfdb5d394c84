"""What waits to go out on one client's stream, and whether the stream is to end."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

MOST_WAITING = 64
"""Further messages that wait for a client to read; an honest one has a few, and after missed deadlines some more."""


class Outbox:
    """One stream's way out; for the event loop alone.

    Parameters
    ----------
    first
        What goes out at once: all that was asked while the client was away, however much that is.
    """

    def __init__(self, first: Sequence[bytes] = ()) -> None:
        self._frames: asyncio.Queue[bytes] = asyncio.Queue(len(first) + MOST_WAITING)
        for frame in first:
            self._frames.put_nowait(frame)
        self._over = asyncio.Event()

    def put(self, frame: bytes) -> bool:
        """Let a message go out; False if the client has not read so many that this is one too many."""
        if self._frames.full():
            return False
        self._frames.put_nowait(frame)
        return True

    async def next(self) -> bytes:
        """Return the next message."""
        return await self._frames.get()

    def end(self) -> None:
        """End the stream, whether or not the client reads."""
        self._over.set()

    async def ended(self) -> None:
        """Wait until the stream is to end."""
        await self._over.wait()


async def end_tasks(*tasks: asyncio.Task[None]) -> None:
    """Cancel tasks, and wait until they are over."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
