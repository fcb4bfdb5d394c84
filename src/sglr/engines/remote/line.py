"""What waits to go out on one client's stream, and whether the stream is to end."""

from __future__ import annotations

import asyncio

MOST_WAITING = 64
"""Messages that wait for a client to read; an honest one has a few, and after missed deadlines some more."""


class Line:
    """One stream's way out; for the event loop alone."""

    def __init__(self) -> None:
        self._frames: asyncio.Queue[bytes] = asyncio.Queue(MOST_WAITING)
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
