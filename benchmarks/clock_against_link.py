"""Modelled time of ``--clock`` beside the time of real processes over the same link, shaped by ``--link``.

Clients and server are processes of this machine. What they compute is not known from operations, so that it is measured
first, over no link: all of a step's time is put on the clients, as the speed at which they would compute it. Then each
configuration trains over each link, with a clock of that speed and link in the same run, so that both times are of
the same steps. Two epochs, of which the first, with all that happens once, is left out.

    python benchmarks/clock_against_link.py --write

Run it while nothing else uses the machine: the model knows nothing of other programs.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

from record import machine, write_result
from sglr.experiment.train import train
from sglr.runs.folder import Run

CLIENTS, BATCH, EPOCHS, GOAL = 3, 32, 2, 0.15
LINKS = (("100ms", "20Mbit"), ("50ms", "50Mbit"), ("20ms", "100Mbit"))
CONFIGURATIONS: tuple[tuple[str, str], ...] = (("psl", "none"), ("psl", "int8"), ("sfl", "none"), ("fl", "none"))
FAST = "1e6GFLOPS"
"""A server whose time is in the clients' speed."""


def settings(samples: int) -> dict[str, Any]:
    """Return what all trainings have in common."""
    return {
        "model": "cnn",
        "dataset": "fashion-mnist",
        "clients": CLIENTS,
        "samples_per_client": samples,
        "batch_size": BATCH,
        "epochs": EPOCHS,
        "validation": 0,
        "test_samples": 100,
        "engine": "remote",
        "threads": 1,
    }


def last_epoch(run: Run, key: str) -> float:
    """Return the seconds of the last epoch alone."""
    before, last = run.history[-2:]
    return float(last[key]) - float(before[key])


def measured_speed(method: str, compression: str, samples: int, folder: Path) -> float:
    """Return the operations per second with which a clock takes as long as this machine does over no link."""
    plain: dict[str, Any] = {**settings(samples), "compression": compression, "progress": False}
    clock = f"1GFLOPS/1000000Mbps,server={FAST}"
    run = train(method, **plain, clock=clock, out=folder / f"{method}-{compression}")
    return 1e9 * last_epoch(run, "modelled_seconds") / last_epoch(run, "seconds")


def compared(
    method: str, compression: str, link: tuple[str, str], speed: float, samples: int, folder: Path
) -> dict[str, Any]:
    """Train over a link, with a clock of the same link; return both times of an epoch."""
    rtt, rate = link
    clock = f"{speed / 1e9:.6g}GFLOPS/{rate}+{rtt},server={FAST}"
    given: dict[str, Any] = {**settings(samples), "compression": compression, "progress": False}
    name = f"{method}-{compression}-{rtt}-{rate}"
    run = train(method, **given, clock=clock, link=f"rtt={rtt},rate={rate}", out=folder / name)
    real, modelled = last_epoch(run, "seconds"), last_epoch(run, "modelled_seconds")
    return {
        "method": method,
        "compression": compression,
        "rtt": rtt,
        "rate": rate,
        "real_seconds": real,
        "modelled_seconds": modelled,
        "ratio": modelled / real,
    }


def main() -> None:
    """Compare, print, and write the result if asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=640, help="of each client")
    parser.add_argument("--links", type=int, default=len(LINKS), help="how many of the links")
    parser.add_argument("--write", action="store_true", help="keep the result under benchmarks/results")
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for method, compression in CONFIGURATIONS:
            speed = measured_speed(method, compression, options.samples, Path(folder))
            for link in LINKS[: options.links]:
                row = compared(method, compression, link, speed, options.samples, Path(folder))
                rows.append(row)
                print(
                    f"{method:5} {compression:5} {link[0]:>6} {link[1]:>8}  real {row['real_seconds']:7.3f} s  "
                    f"modelled {row['modelled_seconds']:7.3f} s  {row['ratio']:.3f}",
                    flush=True,
                )
    worst = max(abs(row["ratio"] - 1) for row in rows)
    print(f"furthest from the real time: {worst:.1%} (goal: {GOAL:.0%})")
    figures = {"samples_per_client": options.samples, "rows": rows, "worst": worst, "goal": GOAL}
    write_result("clock", "against-link", {"machine": machine(), **figures}, keep=options.write)


if __name__ == "__main__":
    main()
