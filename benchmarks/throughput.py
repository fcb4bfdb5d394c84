"""How fast the local engine trains, from 1 client to 10,000, against the unsplit model and a per-client loop.

The unsplit model on the same total batch is the floor that no split training can beat by much; the loop with one
module and one optimizer per client is how published code does it. Every cell is a process of its own, in which rounds
of all contenders alternate; ratios are of the medians, so that a machine that slows down slows them all.

    python benchmarks/throughput.py --write
    python benchmarks/throughput.py --device cuda --write
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import torch

from contenders import SHAPES, build_split, make_data, published_loop_steps, split_steps, unsplit_steps
from record import RESULTS, machine, write_result
from sglr.core.model import build_model
from sglr.splitting import split
from sglr.stacking.precision import Precision
from sglr.system.allocator import keep_freed_memory
from sglr.system.machine import memory_of

MODELS, CLIENTS = ("mlp", "cnn", "resnet16"), (1, 5, 20, 100, 1000, 10_000)
LOOPED = 100
"""Most clients of the loops: they take one after another, so that their samples per second hardly change beyond."""
MEMORY, PROCESS = 0.8, 500 << 20
"""The share of the memory that a cell may take, and the bytes of a process without clients."""
WAYS = (Precision(), Precision("tf32"), Precision("bf16"), Precision("tf32", True), Precision("bf16", True))
"""Ways of computing that are compared on a GPU."""


def batch_of(clients: int) -> int:
    """Return b: that of the paper, but one sample where activations of 80,000 would not fit."""
    return 8 if clients < max(CLIENTS) else 1


def steps_of(clients: int) -> int:
    """Return the steps of a round: few where one is long."""
    return 3 if clients <= LOOPED else 1 if clients < max(CLIENTS) else 2


def contenders(
    model: str, clients: int, device: str, precision: Precision
) -> dict[str, tuple[Callable[[], None], int]]:
    """Return every contender and the samples of its round."""
    batch, steps = batch_of(clients), steps_of(clients)
    few = min(clients, LOOPED)
    data, part = make_data(model, clients, batch, steps), make_data(model, few, 8, 1)
    built = build_split(model, data, clients, batch, "auto", device, precision)
    found = {
        "sglr": (split_steps(built), len(data.train)),
        "unsplit": (unsplit_steps(model, data, clients * batch, device, precision), len(data.train)),
    }
    if precision == Precision():
        looped = split_steps(build_split(model, part, few, 8, "looped", device))
        loop = published_loop_steps(model, part, few, 8, device)
        found |= {"sglr looped": (looped, len(part.train)), "published loop": (loop, len(part.train))}
    return found


def cell(model: str, clients: int, device: str, precision: Precision, rounds: int, seconds: float) -> dict[str, Any]:
    """Measure one cell: after a warm-up, as many rounds as ``seconds`` allow, but one."""
    running = contenders(model, clients, device, precision)
    times: dict[str, list[float]] = {name: [] for name in running}
    begun = time.perf_counter()
    for round_ in range(rounds + 1):
        for name, (run, _) in running.items():
            started = time.perf_counter()
            run()
            if device != "cpu":
                torch.cuda.synchronize()
            if round_ == 1:
                times[name].clear()  # of the warm-up, which counts only where nothing follows
            times[name].append(time.perf_counter() - started)
        if round_ > 0 and time.perf_counter() - begun > seconds:
            break
    rates = {name: running[name][1] / statistics.median(taken) for name, taken in times.items()}
    row: dict[str, Any] = {"model": model, "clients": clients, "batch": batch_of(clients), **vars(precision)}
    row["samples_per_second"] = {name: round(rate) for name, rate in rates.items()}
    row["ratios"] = {f"sglr / {name}": round(rates["sglr"] / rate, 2) for name, rate in rates.items() if name != "sglr"}
    row["seconds"] = round(time.perf_counter() - begun, 1)
    row["round_seconds"] = round(statistics.median(times["sglr"]), 3)
    return row | {"held_bytes": held_bytes(model, clients), "peak_bytes": peak_bytes(device)}


def held_bytes(model: str, clients: int) -> int:
    """Return the bytes of all clients' weights, their gradients and Adam's two moments."""
    whole = build_model(model, SHAPES[model], 10)
    assert isinstance(whole.default_cut, str)
    lower = split(whole, whole.default_cut).lower
    return 4 * clients * sum(weight.nbytes for weight in lower.parameters())


def peak_bytes(device: str) -> int:
    if device != "cpu":
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def why_not(row: Mapping[str, Any] | None, clients: int, device: str, limit: float) -> str | None:
    """Foretell from the row of fewer clients why a cell would take too much, if it would."""
    if row is None:
        return None
    if "skipped" in row:
        return str(row["skipped"])
    times = clients * batch_of(clients) / (row["clients"] * row["batch"])
    # What clients hold grows with their number, activations with the samples of a step.
    held = row["held_bytes"]
    bytes_ = PROCESS + held * clients / row["clients"] + max(0, row["peak_bytes"] - PROCESS - held) * times
    room = MEMORY * memory_of(torch.device(device))
    if bytes_ > room:
        return f"would take some {bytes_ / 1e9:.0f} GB of memory, and {room / 1e9:.0f} may be used here"
    per_step = row["round_seconds"] / steps_of(row["clients"]) * times * steps_of(clients)
    # Two rounds of two contenders; the loops are as long as before.
    if 4 * per_step > limit:
        return f"would take some {4 * per_step:.0f} s, and a cell may take {limit:.0f}"
    return None


def in_fresh_process(model: str, clients: int, arguments: argparse.Namespace, precision: Precision) -> dict[str, Any]:
    command = [
        sys.executable,
        __file__,
        "--one",
        model,
        str(clients),
        precision.precision,
        str(int(precision.compiled)),
    ]
    command += ["--device", arguments.device, "--rounds", str(arguments.rounds), "--seconds", str(arguments.seconds)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"ended with {done.returncode}"])[-1]
        return {"model": model, "clients": clients, **vars(precision), "skipped": f"failed: {reason}"}
    found: dict[str, Any] = json.loads(done.stdout[done.stdout.index("{") :])
    return found


def matrix(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Return a row per model and number of clients, those that were skipped with the reason."""
    rows: list[dict[str, Any]] = []
    for model in arguments.models:
        last: dict[str, Any] | None = None
        for clients in arguments.clients:
            reason = why_not(last, clients, arguments.device, arguments.limit)
            row = {"model": model, "clients": clients, "skipped": reason}
            last = row if reason else in_fresh_process(model, clients, arguments, Precision())
            rows.append(last)
            print(json.dumps(last), file=sys.stderr, flush=True)
    return rows


def ways(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Compare precisions, and compiled passes, on the paper's case, also with 2 cores' figure if it is known."""
    if arguments.device == "cpu" and not arguments.ways:
        return []
    two_cores = two_cores_rate()
    found = []
    for precision in WAYS if arguments.device != "cpu" else [Precision("bf16")]:
        row = in_fresh_process(arguments.ways or "resnet16", 20, arguments, precision)
        if two_cores and "skipped" not in row and not arguments.ways:
            row["ratios"]["sglr / 2 cores"] = round(row["samples_per_second"]["sglr"] / two_cores, 1)
        found.append(row)
        print(json.dumps(row), file=sys.stderr, flush=True)
    return found


def two_cores_rate() -> float | None:
    """Return the kept samples per second of the paper's case on the CPU of the last `make bench`."""
    path = RESULTS / "throughput-cpu.json"
    rows = json.loads(path.read_text(encoding="utf-8"))["throughput"] if path.is_file() else []
    own = [row for row in rows if (row["model"], row["clients"]) == ("resnet16", 20) and "skipped" not in row]
    return float(own[0]["samples_per_second"]["sglr"]) if own and "sglr" in own[0]["samples_per_second"] else None


def flat(rows: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Return, per model, time per sample of each number of clients relative to the one before it."""
    found: dict[str, dict[str, float]] = {}
    for before, after in pairwise(rows):
        if before["model"] == after["model"] and "skipped" not in before and "skipped" not in after:
            slower = before["samples_per_second"]["sglr"] / max(1, after["samples_per_second"]["sglr"])
            found.setdefault(after["model"], {})[f"{before['clients']} to {after['clients']}"] = round(slower, 2)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--one", nargs=4, metavar=("MODEL", "CLIENTS", "PRECISION", "COMPILE"))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--models", nargs="+", default=MODELS, choices=MODELS)
    parser.add_argument("--clients", nargs="+", type=int, default=CLIENTS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=8.0, help="after so long a cell begins no further round")
    parser.add_argument("--limit", type=float, default=45.0, help="a cell that would take longer is skipped")
    parser.add_argument("--ways", choices=MODELS, help="compare ways of computing with this model, on a CPU too")
    parser.add_argument("--write", action="store_true", help="keep the result under benchmarks/results")
    arguments = parser.parse_args()
    if arguments.device == "cpu":
        keep_freed_memory()
    if arguments.one:
        model, clients, precision, compiled = arguments.one
        precision = Precision(precision, compiled == "1")
        print(json.dumps(cell(model, int(clients), arguments.device, precision, arguments.rounds, arguments.seconds)))
        return
    rows = matrix(arguments)
    result = {
        "machine": machine(),
        "command": f"python benchmarks/throughput.py --device {arguments.device} --rounds {arguments.rounds} "
        f"--seconds {arguments.seconds:g} --limit {arguments.limit:g}",
        "throughput": rows,
        "ways": ways(arguments),
        "time_per_sample_relative_to_fewer_clients": flat(rows),
    }
    write_result("throughput", arguments.device, result, keep=arguments.write)


if __name__ == "__main__":
    main()
