"""Federated averaging in sglr and in Flower: seconds, processor seconds and memory of a round, at equal work.

The small CNN on Fashion-MNIST (``SGLR_DATA_DIR``; noise of that shape where it is not there), the same images, batches
and optimizer; a round is an epoch. ``simulation`` is sglr's local engine beside Flower's simulation with Ray, as fast
as it can be set up: a process for each core, as important as others (Ray's own default is nice 15), which keeps the
data. ``deployed`` has three clients and a server as processes on loopback: sglr with mutual TLS, Flower's SuperLink and
SuperNodes with TLS of the server. Both are up at once and take turns of a round; while one trains, the other waits.
All of it is done twice: in quiet, and beside a process that computes without pause, which is there before they start,
since sglr looks then how many cores are free. Flower has no split learning: FedAvg is what both can do.

    make bench-flower          # installs Flower for it, in .venv-flower
    python benchmarks/flower.py --flower-python .venv-flower/bin/python --write
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from beside.contender import Contender, Turn
from beside.federated_work import TESTED, Work, accuracy, images
from beside.flower_processes import deployed_flower, simulated_flower
from neighbour import neighbours
from record import cores_of_others, machine, write_result

HERE = Path(__file__).parent
STATES = {"quiet": 0, "one neighbour": 1}
SIMULATION = {"20 clients, b = 8": (20, 160, 8), "10 clients, b = 32": (10, 640, 32)}
"""Clients, samples of each, and batch size."""
DEPLOYED = {"3 clients, b = 32": (3, 640, 32)}
LAST = {"sglr": "run/summary.json", "flower": "weights.pt"}
"""The last file that each writes."""
Start = Callable[[Contender, Path], None]


def sglr(engine: str, work: Work) -> Start:
    """Return how sglr's command is started with an engine."""

    def start(contender: Contender, data: Path) -> None:
        script = str(HERE / "beside/paced_sglr.py")
        flags = [
            *work.flags,
            f"--engine={engine}",
            f"--dataset=arrays:{data / 'work.npz'}",
            f"--out={contender.folder / 'run'}",
        ]
        environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
        contender.family.start([sys.executable, script, str(contender.folder), "train", *flags], environment)

    return start


def measure(starts: dict[str, Start], data: Path, turns: int) -> dict[str, dict[str, Any]]:
    """Start all, one after another, and let them take turns; return what each took."""
    rows: dict[str, dict[str, Any]] = {}
    contenders: dict[str, Contender] = {}
    found: dict[str, list[Turn]] = {name: [] for name in starts}
    try:
        for name, start in starts.items():
            contenders[name] = Contender(data / name)
            begun = time.perf_counter()
            start(contenders[name], data)
            rows[name] = {"first_round_s": contenders[name].first(begun)}
        for _ in range(turns):
            for name, contender in contenders.items():
                found[name].append(contender.turn())
        for name, contender in contenders.items():
            contender.finish()
            wait_for(contender, LAST[name])
    finally:
        for contender in contenders.values():
            contender.end()
    for name, own in found.items():
        rows[name] |= {
            "round_s": statistics.median(turn.seconds for turn in own),
            "processor_s": statistics.median(turn.processor_seconds for turn in own),
            "memory_mb": max(turn.memory for turn in own) / 1e6,
            "rounds": [round(turn.seconds, 3) for turn in own],
        }
    return rows


def wait_for(contender: Contender, name: str) -> None:
    """Wait until a training has written its last file."""
    limit = time.monotonic() + 120
    while not (contender.folder / name).is_file():
        if time.monotonic() > limit:
            raise SystemExit(f"the training does not end:\n{contender.family.log()}")
        time.sleep(0.2)
    time.sleep(0.5)


def in_state(kind: str, work: Work, python: Path, turns: int) -> dict[str, dict[str, Any]]:
    """Measure one case, beside whatever runs; both are tested on the same images in the end."""
    _, train, test = images(work.clients * work.samples)
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder)
        work.write(data, train, test)
        flower = simulated_flower(python) if kind == "simulation" else deployed_flower(python, work.clients)
        engine = "local" if kind == "simulation" else "remote"
        rows = measure({"sglr": sglr(engine, work), "flower": flower}, data, turns)
        summary = json.loads((data / "sglr" / LAST["sglr"]).read_text(encoding="utf-8"))
        rows["sglr"]["accuracy"] = summary["test"]["accuracy"]
        weights = torch.load(data / "flower" / LAST["flower"], weights_only=True)
        rows["flower"]["accuracy"] = accuracy(weights, test)
    return rows


def compare(kind: str, work: Work, python: Path, turns: int) -> dict[str, Any]:
    """Measure one case in all states; the ratio is how many times as long Flower's round takes."""
    states = {}
    for state, number in STATES.items():
        with neighbours(number):
            states[state] = in_state(kind, work, python, turns)
    ratios = {state: rows["flower"]["round_s"] / rows["sglr"]["round_s"] for state, rows in states.items()}
    return {"dataset": images(0)[0], **vars(work), **states, "flower_to_sglr": ratios}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--flower-python", type=Path, default=Path(".venv-flower/bin/python"), help="has flwr and torch"
    )
    parser.add_argument("--turns", type=int, default=5, help="rounds after the first one")
    parser.add_argument("--deployed-turns", type=int, default=2)
    parser.add_argument("--only", choices=["simulation", "deployed"])
    parser.add_argument("--write", action="store_true", help="keep the result in benchmarks/results")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by a signal"))  # so that what was started is ended, too
    python = arguments.flower_python.absolute()
    if not python.is_file():
        raise SystemExit(f"{python} is not there: run make bench-flower, or give --flower-python")
    ask = "import flwr.supercore.version as v, torch; print(v.package_version, torch.__version__)"
    flwr, theirs = subprocess.run([python, "-c", ask], check=True, capture_output=True, text=True).stdout.split()
    result: dict[str, Any] = {
        "machine": {**machine(), "threads": len(os.sched_getaffinity(0))},
        "cores_of_others": cores_of_others(),
        "command": "python benchmarks/flower.py --write",
        "flower": {"flwr": flwr, "torch": theirs},
        "tested": TESTED,
    }
    for kind, cases, turns in (
        ("simulation", SIMULATION, arguments.turns),
        ("deployed", DEPLOYED, arguments.deployed_turns),
    ):
        if arguments.only in (None, kind):
            result[kind] = {}
            for name, size in cases.items():
                work = Work(*size, rounds=1 + turns)
                result[kind][name] = compare(kind, work, python, turns)
                print(kind, name, result[kind][name]["flower_to_sglr"], flush=True)
    write_result("flower", "cpu", result, keep=arguments.write)


if __name__ == "__main__":
    main()
