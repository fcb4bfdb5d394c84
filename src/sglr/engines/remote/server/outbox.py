"""Messages that wait to be sent on one client's stream, and the signal that the stream is to end."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

MOST_WAITING = 64
"""Most messages that may wait for a client to read; an honest client has a few, more after missed deadlines."""


class Outbox:
    """The outgoing messages of one stream; used by the event loop only.

    Parameters
    ----------
    first
        Sent at once: all requests that came while the client was away, however many.
    """

    def __init__(self, first: Sequence[bytes] = ()) -> None:
        self._frames: asyncio.Queue[bytes] = asyncio.Queue(len(first) + MOST_WAITING)
        for frame in first:
            self._frames.put_nowait(frame)
        self._over = asyncio.Event()

    def put(self, frame: bytes) -> bool:
        """Queue a message; return False if too many wait already, because the client does not read."""
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
