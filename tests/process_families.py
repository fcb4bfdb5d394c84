"""Processes that a command has started, and whether they are gone."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path


def wait_for(condition: Callable[[], bool], seconds: float = 120.0) -> None:
    """Wait until something is true."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "took too long"
        time.sleep(0.05)


def descendants(pid: int) -> list[int]:
    """Return the processes that one has started, and those that they have."""
    started = [
        int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit() and _state(entry)[1] == str(pid)
    ]
    return [*started, *(one for own in started for one in descendants(own))]


def alive(pid: int) -> bool:
    """Say whether a process is there, and not only remembered until it is waited for."""
    return _state(Path(f"/proc/{pid}"))[0] not in ("", "Z")


def _state(process: Path) -> list[str]:
    """Return a process's state and parent, both empty where it is gone."""
    try:
        return (process / "stat").read_text().rpartition(")")[2].split()[:2]
    except OSError:
        return ["", ""]
