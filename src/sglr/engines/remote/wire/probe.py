"""Messages of any size in either direction, to measure how far a server is and how wide the way to it.

A request begins with the length of the answer, four bytes, little-endian; its rest is padding.
"""

from __future__ import annotations

PROBE = "/sglr.Split/Probe"
MOST_BYTES = 4 << 20
"""Of a request, and of an answer."""

_LENGTH = 4


def request(up: int, down: int) -> bytes:
    """Return a request of ``up`` bytes (4 at least) for an answer of ``down`` bytes."""
    return down.to_bytes(_LENGTH, "little") + bytes(max(0, up - _LENGTH))


def answer(request: bytes) -> bytes:
    """Return what a request asks for, no longer than `MOST_BYTES`."""
    return bytes(min(MOST_BYTES, int.from_bytes(request[:_LENGTH], "little")))
