"""What it costs in accuracy, and saves in modelled time, not to wait for late clients, and to exchange rarely.

Digits, ten clients of whom three are phones on 4G and the others laptops on Wi-Fi; the MLP, ten epochs; three seeds.
`python benchmarks/late_clients.py --write` takes a few minutes of a processor and prints the tables of docs/time.md.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any

import torch

from record import machine, write_result
from sglr.experiment.train import train

SETTINGS: dict[str, Any] = {
    "dataset": "digits",
    "model": "mlp",
    "clients": 10,
    "samples_per_client": 100,
    "epochs": 10,
    "eval_every": 10,
    "clock": "0-6=laptop/wifi,7-9=phone/4g",
    "device": "cpu",
    "progress": False,
}
RULES = ("wait", "deadline:0.03", "quorum:7", "buffer:7", "buffer:3")
METHODS, PARTITIONS = ("sglr2", "sfl"), ("iid", "shards")
HEADS, INTERVALS = ("cse-fsl", "fsl-sage"), (1, 2, 4, 8)
COLUMNS = tuple((method, partition) for method in METHODS for partition in PARTITIONS)
COLUMNS_OF_HEADS = tuple((method, partition) for method in HEADS for partition in PARTITIONS)


def measure(seeds: int) -> list[dict[str, Any]]:
    """Train everything; return a row for each training."""
    points = [
        {"method": method, "partition": partition, "stragglers": rule}
        for method, partition in COLUMNS
        for rule in RULES
    ]
    points += [
        {"method": method, "partition": partition, "h": h} for method, partition in COLUMNS_OF_HEADS for h in INTERVALS
    ]
    rows = []
    for point in points:
        for seed in range(seeds):
            with tempfile.TemporaryDirectory() as folder:
                own = {"align_every": 2} if point["method"] == "fsl-sage" else {}
                run = train(**SETTINGS, **point, **own, seed=seed, out=Path(folder) / "run")
                summary = run.summary
            assert summary is not None
            modelled = summary["modelled_time"]["seconds"]
            rows.append({**point, "seed": seed, "test": summary["test"]["accuracy"], "modelled_seconds": modelled})
        print(
            point, [round(row["test"], 3) for row in rows[-seeds:]], round(rows[-1]["modelled_seconds"], 1), flush=True
        )
    return rows


def table(rows: Sequence[dict[str, Any]], by: str, values: Sequence[Any], columns: Sequence[tuple[str, str]]) -> str:
    """Return a table: test accuracy in %, mean ± standard deviation over seeds, and the modelled seconds."""
    heads = [f"{method}, {partition}" for method, partition in columns]
    methods = list(dict.fromkeys(method for method, _ in columns))
    lines = [f"| `--{by}` | {' | '.join([*heads, *(f'{method}, modelled' for method in methods)])} |"]
    lines.append(f"|---|{'---:|' * (len(heads) + len(methods))}")
    for value in values:
        cells = []
        for method, partition in columns:
            found = [100 * row["test"] for row in _of(rows, by, value, method, partition)]
            cells.append(f"{fmean(found):.1f} ± {pstdev(found):.1f}")
        for method in methods:
            seconds = fmean(row["modelled_seconds"] for row in _of(rows, by, value, method, "iid"))
            cells.append(f"{seconds:.1f} s")
        lines.append(f"| `{value}` | {' | '.join(cells)} |")
    return "\n".join(lines)


def _of(rows: Sequence[dict[str, Any]], by: str, value: Any, method: str, partition: str) -> list[dict[str, Any]]:
    wanted = {by: value, "method": method, "partition": partition}
    return [row for row in rows if wanted.items() <= row.items()]


def main() -> None:
    """Measure, print, and write the result if asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="keep the result under benchmarks/results")
    options = parser.parse_args()
    rows = measure(options.seeds)
    command = "python benchmarks/late_clients.py --write"
    result: dict[str, object] = {"machine": machine(), "command": command, "settings": SETTINGS, "rows": rows}
    write_result("late-clients", "cpu", result, keep=options.write)
    print(table(rows, "stragglers", RULES, COLUMNS))
    print(table(rows, "h", INTERVALS, COLUMNS_OF_HEADS))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
