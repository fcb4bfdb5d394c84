"""Describe this machine: processor, cores, GPUs, memory."""

from __future__ import annotations

import os
import platform
import re
import resource
import sys
from pathlib import Path

import torch

from sglr.core.errors import UsageError
from sglr.system.cores import usable_cores

CPU_INFO = Path("/proc/cpuinfo")
MEMORY_LIMIT = Path("/sys/fs/cgroup/memory.max")
ADDRESS_SPACE = Path("/proc/self/statm")


def describe_machine() -> dict[str, str]:
    """Return ``system``, ``processor``, ``cores`` and ``gpu``, if there is one, as texts."""
    found = {"system": platform.platform(), "processor": processor_name(), "cores": _cores()}
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
        found["gpu"] = ", ".join(f"{names.count(name)} × {name}" for name in dict.fromkeys(names))
    return found


def memory_of(device: torch.device) -> int:
    """Return the most bytes of memory that this process may use on the device or the host."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[1])
    return min(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), _container_limit(), _process_limit())


def refuse_beyond_memory(needed: int, field: str, value: object, what: str, remedy: str) -> None:
    """Raise UsageError if something needs more host memory than this process may use.

    Parameters
    ----------
    needed
        Bytes.
    field, value, remedy
        As in `UsageError`.
    what
        What needs them, as the subject of a sentence.
    """
    most = memory_of(torch.device("cpu"))
    if needed > most:
        problem = f"{what} would need {_gigabytes(needed)} of memory, but this process may use {_gigabytes(most)}"
        raise UsageError(field, value, problem, remedy)


def _gigabytes(size: int) -> str:
    return f"{min(size, 10**30) / 1e9:,.1f} GB"


def _process_limit() -> int:
    """Return what a limit of the address space (``ulimit -v``) leaves to the process, or a huge number."""
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit == resource.RLIM_INFINITY:
        return sys.maxsize
    taken = int(ADDRESS_SPACE.read_text(encoding="utf-8").split()[0]) if ADDRESS_SPACE.is_file() else 0
    return max(0, limit - taken * os.sysconf("SC_PAGE_SIZE"))


def _container_limit() -> int:
    """Return the limit of a container's control group, or a huge number."""
    try:
        return int(MEMORY_LIMIT.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # the file does not exist, or contains "max"
        return sys.maxsize


def processor_name() -> str:
    """Return the processor's name from the system, else its architecture."""
    try:
        listed = re.search(r"^model name\s*:\s*(.+)$", CPU_INFO.read_text(encoding="utf-8"), re.MULTILINE)
    except (OSError, UnicodeDecodeError):
        listed = None
    return listed[1].strip() if listed else platform.processor() or platform.machine() or "unknown"


def _cores() -> str:
    """Return how many cores this process may use, and how many there are."""
    every = os.cpu_count() or 1
    usable = len(usable_cores())
    return str(every) if usable == every else f"{usable} of {every}"
