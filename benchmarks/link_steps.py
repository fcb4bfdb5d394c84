"""What computing ahead and codes save over a slow link: seconds of a step between sites, by depth and code.

Three clients and a server are processes of this machine, with a link of 100 ms and 20 Mbit/s between them (``--link``).
A step can't be shorter than what is computed for it, measured without a link, nor than what is sent one way takes.
``python benchmarks/link_steps.py --write`` takes ten minutes. Needs Fashion-MNIST (SGLR_DATA_DIR).
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import Any

import torch

import sglr
from record import machine, write_result

RATE, RTT = 20e6, 0.1
"""Bits and seconds."""

LINK = "rtt=100ms,rate=20Mbit"
POINTS = (("int8", 0), ("int8", 1), ("int8", 2), ("int8", 4), ("int8", 8), ("none", 0), ("none", 4), ("int4", 0))
POINTS += (("int4", 4), ("int4", 8))
SETTINGS = {
    "method": "psl",
    "dataset": "fashion-mnist",
    "model": "cnn",
    "clients": 3,
    "samples_per_client": 1280,
    "batch_size": 32,
    "epochs": 2,
    "eval_every": 2,
    "validation": 40,
    "test_samples": 40,
    "engine": "remote",
    "device": "cpu",
}
"""Forty steps an epoch; the second epoch is measured, in which all connections are warm."""


def step(out: Path, code: str, depth: int, **link: str) -> tuple[float, float]:
    """Train; return the seconds of a step, and the bytes that a client sends in it."""
    shutil.rmtree(out, ignore_errors=True)
    run = sglr.train(**SETTINGS, **link, compression=code, pipelining=depth, out=out)
    summary = run.summary
    assert summary is not None
    first, second = run.history
    steps = second["steps"] - first["steps"]
    sent = sum(summary["communication"]["by_kind"]["up"].values()) / second["steps"] / int(SETTINGS["clients"])
    return (second["seconds"] - first["seconds"]) / steps, sent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/link-steps"), help="folder of the runs")
    parser.add_argument("--write", action="store_true", help="keep the result under benchmarks/results")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    computing = {code: step(options.out, code, 0)[0] for code in dict.fromkeys(code for code, _ in POINTS)}
    for code, depth in POINTS:
        seconds, sent = step(options.out, code, depth, link=LINK)
        least = max(computing[code], 8 * sent / RATE)
        rows.append({"compression": code, "pipelining": depth, "seconds": seconds, "bytes_up": sent})
        rows[-1] |= {"without_link": computing[code], "one_way": 8 * sent / RATE, "of_least": seconds / least}
        print(rows[-1], flush=True)
    result: dict[str, object] = {
        "machine": machine(),
        "command": "python benchmarks/link_steps.py --write",
        "link": LINK,
        "settings": SETTINGS,
        "rows": rows,
    }
    write_result("link-steps", "cpu", result, keep=options.write)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
