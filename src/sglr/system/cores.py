"""Which cores this process may use."""

from __future__ import annotations

import os


def usable_cores() -> frozenset[int]:
    """Return the numbers of the cores on which this process may run; those of all where the system does not tell."""
    if hasattr(os, "sched_getaffinity"):
        return frozenset(os.sched_getaffinity(0))
    return frozenset(range(os.cpu_count() or 1))
