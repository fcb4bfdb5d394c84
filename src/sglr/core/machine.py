"""The machine that a result comes from: processor, cores, accelerators."""

from __future__ import annotations

import os
import platform
import re
import sys
from pathlib import Path

import torch

CPU_INFO = Path("/proc/cpuinfo")
MEMORY_LIMIT = Path("/sys/fs/cgroup/memory.max")


def describe_machine() -> dict[str, str]:
    """Return ``system``, ``processor``, ``cores`` and, where there is one, ``gpu``, as text to be shown."""
    found = {"system": platform.platform(), "processor": processor_name(), "cores": _cores()}
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
        found["gpu"] = ", ".join(f"{names.count(name)} × {name}" for name in dict.fromkeys(names))
    return found


def memory_of(device: torch.device) -> int:
    """Return the bytes of memory that this process may use at most, the device's or the host's."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[1])
    return min(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), _container_limit())


def _container_limit() -> int:
    """Return what a container's control group allows, or a number beyond all memory."""
    try:
        return int(MEMORY_LIMIT.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # there is none, or it says "max"
        return sys.maxsize


def processor_name() -> str:
    """Return the processor's name as the system tells it, else its architecture."""
    try:
        listed = re.search(r"^model name\s*:\s*(.+)$", CPU_INFO.read_text(encoding="utf-8"), re.MULTILINE)
    except (OSError, UnicodeDecodeError):
        listed = None
    return listed[1].strip() if listed else platform.processor() or platform.machine() or "unknown"


def _cores() -> str:
    """Return how many cores this process may use, and of how many."""
    every = os.cpu_count() or 1
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else every
    return str(every) if usable == every else f"{usable} of {every}"
