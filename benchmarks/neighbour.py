"""What a training on all cores loses to a busy neighbour, by how its threads wait for one another.

Every contender is a process of its own, since OpenMP reads its settings once. All take turns of a second, in quiet and
beside processes that compute without pause, so that what else the machine does slows all alike. "as sglr starts" looks
at its start how many cores are free, so it is started in quiet for the turns in quiet, and beside the others for those.

    python benchmarks/neighbour.py --write
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

from record import machine, write_result
from sglr.system.allocator import LARGE_PAGES
from sglr.system.neighbours import Look, find_free_cores
from sglr.system.waiting import SPINS

AS_SGLR = "as sglr starts"
WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "OMP_NUM_THREADS")
CORES = len(os.sched_getaffinity(0))
CONTENDERS: Mapping[str, Mapping[str, str]] = {
    "one thread": {"OMP_NUM_THREADS": "1"},
    "all cores, torch's own waiting": {},
    "all cores, passive": {"OMP_WAIT_POLICY": "passive"},
    "all cores, 300 spins": {"GOMP_SPINCOUNT": "300"},
    "all cores, 1,000 spins": {"GOMP_SPINCOUNT": "1000"},
    "all cores, 3,000 spins": {"GOMP_SPINCOUNT": "3000"},
    "all cores, 10,000 spins": {"GOMP_SPINCOUNT": "10000"},
    AS_SGLR: {},
}
STATES = {"quiet": 0, "one neighbour": 1}
"""How many busy processes there are beside the training."""
MODELS = {"cnn": (20, 8), "mlp": (50, 8), "resnet16": (5, 8)}
"""Clients and batch size of each model."""


def contender(model: str, *, as_sglr: bool) -> None:
    """Be a contender: build a training, then train as many seconds as each line says, and print steps a second."""
    before = Look.now() if as_sglr else None
    import torch

    from contenders import STEPS, build_split, make_data, split_steps
    from sglr.system.allocator import keep_freed_memory

    keep_freed_memory()
    if (found := find_free_cores(before)) is not None:
        torch.set_num_threads(found.threads)
    clients, batch = MODELS[model]
    run = split_steps(build_split(model, make_data(model, clients, batch), clients, batch, "stacked", "cpu"))
    run()
    print("ready", flush=True)
    for line in sys.stdin:
        begun, passes = time.perf_counter(), 0
        while (taken := time.perf_counter() - begun) < float(line):
            run()
            passes += 1
        print(passes * STEPS / taken, flush=True)


@contextmanager
def started(model: str, name: str) -> Iterator[subprocess.Popen[str]]:
    """Start a contender; it ends with the block."""
    environment = {own: value for own, value in os.environ.items() if own not in WAITING} | CONTENDERS[name]
    environment[LARGE_PAGES] = "1"
    words = [sys.executable, __file__, "--contender", model]
    if name == AS_SGLR:
        words.append("--as-sglr")
        environment["GOMP_SPINCOUNT"] = str(SPINS)
    with subprocess.Popen(words, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            yield process
        finally:
            process.kill()


@contextmanager
def neighbours(number: int) -> Iterator[None]:
    """Run processes that compute without pause."""
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(number)]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


def rate(process: subprocess.Popen[str], seconds: float) -> float:
    """Let a contender train; return its steps a second."""
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(f"{seconds}\n")
    process.stdin.flush()
    return float(process.stdout.readline())


def measure(model: str, rounds: int, seconds: float) -> dict[str, dict[str, float]]:
    """Return the steps a second of all contenders, in quiet and beside a neighbour."""
    found: dict[str, dict[str, list[float]]] = {name: {} for name in CONTENDERS}
    with ExitStack() as stack:
        processes = {name: stack.enter_context(started(model, name)) for name in CONTENDERS if name != AS_SGLR}
        looking = {}
        for state, number in STATES.items():
            with neighbours(number):
                looking[state] = stack.enter_context(started(model, AS_SGLR))
        for _ in range(rounds):
            for state, number in STATES.items():
                with neighbours(number):
                    for name, process in {**processes, AS_SGLR: looking[state]}.items():
                        found[name].setdefault(state, []).append(rate(process, seconds))
    return {
        name: {state: statistics.median(rates) for state, rates in states.items()} for name, states in found.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=1.0, help="that a contender trains in each of its turns")
    parser.add_argument("--write", action="store_true", help="keep the result in benchmarks/results")
    parser.add_argument("--contender", help=argparse.SUPPRESS)
    parser.add_argument("--as-sglr", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.contender:
        contender(arguments.contender, as_sglr=arguments.as_sglr)
        return
    found = {}
    for model in arguments.models.split(","):
        rates = measure(model, arguments.rounds, arguments.seconds)
        single = rates["one thread"]
        found[model] = {
            name: {
                state: {"steps_a_second": round(each, 2), "to_one_thread": round(each / single[state], 3)}
                for state, each in states.items()
            }
            for name, states in rates.items()
        }
        for name, states in rates.items():
            print(model, name, {state: round(each / single[state], 2) for state, each in states.items()}, flush=True)
    command = f"python benchmarks/neighbour.py --rounds {arguments.rounds} --seconds {arguments.seconds}"
    result: dict[str, object] = {"machine": {**machine(), "threads": CORES}, "command": command, "models": found}
    write_result("neighbour", "cpu", result, keep=arguments.write)


if __name__ == "__main__":
    main()
