"""How many samples a step takes, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def batch_words(settings: Mapping[str, Any]) -> str:
    """Say whose samples make a step of a run with these settings, such as ``8 samples of each client per step``."""
    name, _, given = str(settings.get("batching", "local")).partition(":")
    each = settings.get("batch_size", 0)
    each = each if isinstance(each, int) else 0
    if name == "clock":
        return f"{_many(each)} per step of each client that is ready, on a simulated clock"
    if name == "regulated":
        return f"{_many(each)} for each client per step, more of the faster ones, on a simulated clock"
    if name not in ("proportional", "global"):
        return f"{_many(each)} of each client per step"
    together = given.rpartition("=")[2].strip()
    many = _many(int(together)) if together.isdecimal() else f"{_many(each)} for each client"
    whose = "of each by its share of the data" if name == "proportional" else "drawn from all clients' data together"
    return f"{many} per step, {whose}"


def _many(samples: int) -> str:
    return f"{samples:,} sample{'' if samples == 1 else 's'}"
