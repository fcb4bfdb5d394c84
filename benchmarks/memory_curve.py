"""Whether memory grows with the number of steps: 5,000 of them in one process, and between a server and two clients.

Resident memory is read every 500 steps; the two clients of the second training are processes of this machine that join
over mutual TLS. Every epoch is validated and ends with a checkpoint.

    python benchmarks/memory_curve.py --write
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from record import machine, write_result
from sglr.core.events import Event, StepDone
from sglr.experiment.describe import describe
from sglr.experiment.train import execute

EVERY, STEPS = 500, 5_000
SETTINGS: dict[str, Any] = {
    "model": "mlp",
    "clients": 2,
    "samples_per_client": 400,
    "validation": 100,
    "test_samples": 100,
    "batch_size": 8,
    "epochs": STEPS // 50,
    "device": "cpu",
    "threads": 1,
}


def resident(process: int | str) -> int:
    """Return the bytes of memory that a process holds."""
    pages = int(Path(f"/proc/{process}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def children() -> list[int]:
    """Return the processes that this one started: the clients."""
    tasks = Path("/proc/self/task").iterdir()
    return sorted(int(child) for task in tasks for child in (task / "children").read_text(encoding="ascii").split())


def curve(engine: str) -> list[dict[str, Any]]:
    """Train; return the memory of all processes every `EVERY` steps."""
    rows: list[dict[str, Any]] = []
    taken = 0

    def observe(event: Event) -> None:
        nonlocal taken
        if not isinstance(event, StepDone):
            return
        taken += 1
        if taken % EVERY == 0:
            own = {"steps": taken, "server" if engine == "remote" else "process": resident("self")}
            rows.append(own | {f"client {place}": resident(child) for place, child in enumerate(children())})

    with tempfile.TemporaryDirectory() as folder:
        experiment, given = describe("sglr", engine=engine, **SETTINGS)
        execute(experiment, Path(folder) / "run", given=given, observe=observe)
    return rows


def grown(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Return by how many per cent each process grew from the first reading to the last."""
    first, last = rows[0], rows[-1]
    return {name: round(100 * (last[name] / first[name] - 1), 2) for name in first if name != "steps"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", choices=("local", "remote"))
    parser.add_argument("--write", action="store_true", help="keep the result under benchmarks/results")
    arguments = parser.parse_args()
    if arguments.engine:
        rows = curve(arguments.engine)
        write_result("memory-curve", arguments.engine, {"rows": rows, "grown_percent": grown(rows)}, keep=False)
        return
    result: dict[str, object] = {"machine": machine(), "command": "python benchmarks/memory_curve.py"}
    for engine in ("local", "remote"):  # each in a process of its own
        command = [sys.executable, __file__, "--engine", engine]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        result[engine] = json.loads(done.stdout[done.stdout.index("{") :])
    write_result("memory-curve", "cpu", result, keep=arguments.write)


if __name__ == "__main__":
    main()
