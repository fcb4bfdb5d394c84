"""The machine that a result comes from: processor, cores, accelerators."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path

import torch

CPU_INFO = Path("/proc/cpuinfo")


def describe_machine() -> dict[str, str]:
    """Return ``system``, ``processor``, ``cores`` and, where there is one, ``gpu``, as text to be shown."""
    found = {"system": platform.platform(), "processor": processor_name(), "cores": _cores()}
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
        found["gpu"] = ", ".join(f"{names.count(name)} × {name}" for name in dict.fromkeys(names))
    return found


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
