"""How far a sweep is: the one event that it tells its observers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SweepProgress:
    """How far a sweep is: experiments done, of how many, and of them found finished."""

    done: int
    total: int
    found: int
