"""How many cores other programs leave to this process: found while it imports torch, so that looking takes no time.

Threads that share a core with another program are waited for by all others, in every operation: a training on all
cores beside one busy program is slower than one that leaves it a core. Nothing here imports torch.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from sglr.system.cores import usable_cores

STAT, QUOTA = Path("/proc/stat"), Path("/sys/fs/cgroup/cpu.max")

OWN_CHOICE = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""Environment variables by which a user says how many threads there are."""

LEAST_SECONDS = 0.1
"""The shortest time that a look takes: the system counts in hundredths of a second."""

USER, NICE, SYSTEM, INTERRUPTS, SOFT_INTERRUPTS, STOLEN = 0, 1, 2, 5, 6, 7
"""Places of times in a line of ``/proc/stat``."""


@dataclass(frozen=True)
class Look:
    """A moment, and what had been computed until then.

    Parameters
    ----------
    at
        Seconds of a clock.
    busy
        Seconds that the cores of this process were busy, with anything that does not give way to it.
    own
        Seconds that this process computed.
    """

    at: float
    busy: float
    own: float

    @classmethod
    def now(cls) -> Self | None:
        """Return this moment; None where the system does not tell."""
        try:
            busy = busy_seconds(STAT.read_text(encoding="ascii"), usable_cores(), gives_way=os.nice(0) > 0)
        except (OSError, ValueError, AttributeError):
            return None
        return cls(time.monotonic(), busy, time.process_time())

    def cores_of_others(self, later: Look) -> float:
        """Return how many cores other programs kept busy, on average until a later moment."""
        computed = (later.busy - self.busy) - (later.own - self.own)
        return max(0.0, computed) / (later.at - self.at)


def busy_seconds(stat: str, cores: frozenset[int], *, gives_way: bool = False) -> float:
    """Return how long some cores were busy since the machine started.

    Parameters
    ----------
    stat
        What ``/proc/stat`` holds.
    cores
        Their numbers.
    gives_way
        Whether this process runs at a low priority: others of low priority then do not give way to it.
    """
    counted = [USER, SYSTEM, INTERRUPTS, SOFT_INTERRUPTS, STOLEN, *([NICE] if gives_way else [])]
    ticks = 0
    for line in stat.splitlines():
        name, *times = line.split()
        if name.startswith("cpu") and name[3:].isdigit() and int(name[3:]) in cores:
            ticks += sum(int(times[place]) for place in counted if place < len(times))
    return ticks / os.sysconf("SC_CLK_TCK")


def quota(content: str | None) -> float | None:
    """Return how many cores a control group may use at once, by its ``cpu.max``; None if all."""
    words = (content or "").split()
    return int(words[0]) / int(words[1]) if len(words) == 2 and all(word.isdigit() for word in words) else None


def free_cores(cores: int, of_others: float, allowed: float | None) -> int:
    """Return how many threads find a core for themselves: at least one.

    Parameters
    ----------
    cores
        Cores on which this process may run.
    of_others
        How many of them others keep busy; less than half a core is taken for none.
    allowed
        How many it may use at once; None if all.
    """
    free = cores - int(of_others + 0.5)
    return max(1, free if allowed is None else min(free, int(allowed)))


@dataclass(frozen=True)
class FreeCores:
    """How many cores a training should use, where that is not all.

    Parameters
    ----------
    threads
        The number of threads to use.
    cores
        The number of cores that this process may run on.
    allowed
        How many of them its control group lets it use at once; None if all.
    """

    threads: int
    cores: int
    allowed: float | None = None

    @property
    def text(self) -> str:
        """What was chosen, and why, in one line."""
        bounded = self.allowed is not None and self.threads == max(1, int(self.allowed))
        why = "the control group allows no more" if bounded else "other programs use the others"
        return f"{self.threads} on {self.cores} cores: {why} (--threads {self.cores} takes all)"


def find_free_cores(before: Look | None, environment: Mapping[str, str] = os.environ) -> FreeCores | None:
    """Return how many cores to use, by how busy they were since a look.

    Returns
    -------
    FreeCores | None
        None if all are free, if the user has chosen by the environment, or if the system does not tell.
    """
    if before is None or any(environment.get(name) for name in OWN_CHOICE):
        return None
    time.sleep(max(0.0, before.at + LEAST_SECONDS - time.monotonic()))
    later = Look.now()
    cores = len(usable_cores())
    if later is None or cores == 1:
        return None
    try:
        allowed = quota(QUOTA.read_text(encoding="ascii"))
    except (OSError, ValueError):
        allowed = None
    threads = free_cores(cores, before.cores_of_others(later), allowed)
    return None if threads == cores else FreeCores(threads, cores, allowed)
