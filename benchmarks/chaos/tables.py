"""A record as the tables of a page: faults by kind, and runs by what was trained.

python -m benchmarks.chaos.tables benchmarks/results/chaos-cpu.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def by_kind(record: dict[str, Any]) -> str:
    """Return how many faults of each kind there were, most first."""
    rows = [f"| {kind} | {number} |" for kind, number in record["by_kind"].items()]
    return "\n".join(["| what was done | times |", "|---|---|", *rows, f"| all | {record['faults']:,} |"])


def by_case(record: dict[str, Any]) -> str:
    """Return what each training had to bear, and what it lost."""
    head = ["| what was trained | seed | epochs | faults | lost |", "|---|---|---|---|---|"]
    return "\n".join(head + [_row(run) for run in record["runs"]])


def _row(run: dict[str, Any]) -> str:
    cells = run["case"], run["seed"], run["epochs"], sum(run["faults"].values()), "; ".join(run["lost"]) or "nothing"
    return f"| {' | '.join(map(str, cells))} |"


if __name__ == "__main__":
    read = json.loads(Path(sys.argv[1]).read_bytes())
    print(by_kind(read), by_case(read), sep="\n\n")
