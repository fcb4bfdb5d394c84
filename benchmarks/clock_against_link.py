"""Modelled time of ``--clock`` beside the time of real processes over the same link, shaped by ``--link``.

Clients and server are processes of this machine. What they compute is not known from operations, so that it is measured
before, over no link: all of a step's time is put on the clients, as the speed at which they would compute it. Then each
configuration trains over each link, with a clock of the same link in the same run, so that both times are of the same
steps. After that the speed is measured again, to tell whether other programs came or went. Of three epochs the first,
with all that happens once, is left out.

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

CLIENTS, BATCH, EPOCHS, GOAL = 3, 32, 3, 0.15
LINKS = (("100ms", "20Mbit"), ("200ms", "10Mbit"))
CONFIGURATIONS: tuple[tuple[str, str, int], ...] = (
    ("psl", "none", 0),
    ("psl", "none", 2),
    ("psl", "int8", 0),
    ("psl", "int8", 4),
    ("sfl", "none", 0),
    ("sfl", "int8", 1),
    ("fl", "none", 0),
)
"""Method, how values at the cut are written, and batches that clients compute ahead (``--pipelining``)."""

FAST = "1e6GFLOPS"
"""A server whose time is in the clients' speed."""


def settings(configuration: tuple[str, str, int], samples: int) -> dict[str, Any]:
    """Return the settings of a training, but for its link and clock."""
    method, compression, ahead = configuration
    return {
        "method": method,
        "compression": compression,
        "pipelining": ahead,
        "progress": False,
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


def epoch_of(run: Run, key: str) -> float:
    """Return the seconds of an epoch after the first: the mean."""
    first, *_, last = (float(row[key]) for row in run.history)
    return (last - first) / (EPOCHS - 1)


def computed(configuration: tuple[str, str, int], samples: int, folder: Path) -> float:
    """Return the operations per second with which a clock takes as long as this machine does over no link.

    With batches ahead, clients and server compute side by side where there are processors for it; so it is measured.
    """
    clock = f"1GFLOPS/1000000Mbps,server={FAST}"
    run = train(**settings(configuration, samples), clock=clock, out=folder)
    return 1e9 * epoch_of(run, "modelled_seconds") / epoch_of(run, "seconds")


def over_link(
    configuration: tuple[str, str, int], link: tuple[str, str], speed: float, samples: int, folder: Path
) -> tuple[float, float]:
    """Return the seconds of an epoch over a link, real and modelled at a speed."""
    rtt, rate = link
    clock = f"{speed / 1e9:.6g}GFLOPS/{rate}+{rtt},server={FAST}"
    run = train(**settings(configuration, samples), clock=clock, link=f"rtt={rtt},rate={rate}", out=folder)
    return epoch_of(run, "seconds"), epoch_of(run, "modelled_seconds")


def compared(configuration: tuple[str, str, int], samples: int, links: int, folder: Path) -> list[dict[str, Any]]:
    """Train over each link, and before and after over none; return the times of an epoch, real and modelled.

    ``speed_changed`` is the speed after by that before: far from 1, other programs came or went between.
    """
    before = computed(configuration, samples, folder / "before")
    real = [over_link(configuration, link, before, samples, folder / link[0]) for link in LINKS[:links]]
    after = computed(configuration, samples, folder / "after")
    method, compression, ahead = configuration
    return [
        {
            "method": method,
            "compression": compression,
            "pipelining": ahead,
            "rtt": rtt,
            "rate": rate,
            "real_seconds": seconds,
            "modelled_seconds": modelled,
            "ratio": modelled / seconds,
            "speed_changed": after / before,
        }
        for (rtt, rate), (seconds, modelled) in zip(LINKS, real, strict=False)
    ]


def line(row: dict[str, Any]) -> str:
    """Return a row as people read it."""
    what = f"{row['method']:5} {row['compression']:5} {row['pipelining']} ahead {row['rtt']:>6} {row['rate']:>8}"
    times = f"real {row['real_seconds']:7.3f} s  modelled {row['modelled_seconds']:7.3f} s  {row['ratio']:.3f}"
    return f"{what}  {times}  (speed × {row['speed_changed']:.2f})"


def main() -> None:
    """Compare, print, and write the result if asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=256, help="of each client")
    parser.add_argument("--links", type=int, default=len(LINKS), help="how many of the links")
    parser.add_argument("--write", action="store_true", help="keep the result under benchmarks/results")
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for number, configuration in enumerate(CONFIGURATIONS):
            found = compared(configuration, options.samples, options.links, Path(folder) / str(number))
            rows += found
            print("\n".join(map(line, found)), flush=True)
    worst = max(abs(row["ratio"] - 1) for row in rows)
    print(f"furthest from the real time: {worst:.1%} (goal: {GOAL:.0%})")
    figures = {"samples_per_client": options.samples, "rows": rows, "worst": worst, "goal": GOAL}
    write_result("clock", "against-link", {"machine": machine(), **figures}, keep=options.write)


if __name__ == "__main__":
    main()
