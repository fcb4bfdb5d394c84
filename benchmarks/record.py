"""Where and when a benchmark was run, and its result on paper."""

from __future__ import annotations

import json
import os
import platform
import time
from pathlib import Path

import torch

from sglr.system.neighbours import Look

RESULTS = Path(__file__).parent / "results"


def machine() -> dict[str, object]:
    """Describe the machine, as far as it matters for speed."""
    info: dict[str, object] = {
        "date": time.strftime("%Y-%m-%d"),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
    }
    if torch.cuda.is_available():
        info["gpu"] = torch.cuda.get_device_name()
    return info


def cores_of_others(seconds: float = 2.0) -> float:
    """Return how many cores other programs keep busy, looking for some seconds: ask before a benchmark starts."""
    before = Look.now()
    time.sleep(seconds)
    after = Look.now()
    return 0.0 if before is None or after is None else round(before.cores_of_others(after), 2)


def write_result(name: str, variant: str, result: dict[str, object], *, keep: bool) -> None:
    """Print the result, and keep it under ``benchmarks/results`` if asked."""
    text = json.dumps(result, indent=1)
    print(text)
    if keep:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{name}-{variant}.json").write_text(text + "\n", encoding="utf-8")


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
