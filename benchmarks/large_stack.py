"""What a step of very many MLP clients costs beside one of 1,000, and beside the memory's speed.

Processor time and page faults are per client. Page faults are counted by the system and the same on a busy machine:
memory that it takes back after every step is zeroed and mapped again in the next. Each number of clients has a process
of its own.

Memory bounds such a step. Adam must read weights, gradients and two moments, and write weights and moments: 7 times
the weights' bytes. A whole step must read the weights once more, for the forward pass, and write the gradients: 9
times; the MLP's client has one linear layer behind its inputs, so its backward pass reads no weights. `share_of_adam`
is the rate at which a whole step moves these bytes, as a part of the rate at which torch's fused Adam alone moves its
own on the same weights, in the same process.

    python benchmarks/large_stack.py --write
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from record import machine, write_result
from sglr.system.allocator import LARGE_PAGES

if TYPE_CHECKING:
    from sglr.stacking.stack import Stack

MODEL, BATCH, STEPS = "mlp", 8, 2
ADAM_MOVES, STEP_MOVES = 7, 9
"""How many times the weights' bytes go between memory and processor, at the least."""


def least_seconds(run: Callable[[], object], passes: int) -> float:
    """Return the least processor seconds of several calls."""
    times = []
    for _ in range(passes):
        began = time.process_time()
        run()
        times.append(time.process_time() - began)
    return min(times)


def adam_seconds(stack: Stack, passes: int) -> float:
    """Return what a step of torch's fused Adam alone takes on a stack's weights, which it moves by nothing."""
    import torch

    weights = [torch.nn.Parameter(tensor.detach()) for tensor in stack.parameters.values()]
    for weight in weights:
        weight.grad = torch.full_like(weight, 1e-3)
    adam = torch.optim.Adam(weights, lr=0.0, fused=True)
    adam.step()
    return least_seconds(adam.step, passes)


def measure(clients: int, passes: int) -> dict[str, float]:
    """Return the least of several passes over the data, per step, in this process."""
    import torch

    from contenders import build_split, make_data, split_steps
    from sglr.stacking import stack
    from sglr.system.allocator import keep_freed_memory

    torch.set_num_threads(1)
    keep_freed_memory()
    built = build_split(MODEL, make_data(MODEL, clients, BATCH, STEPS), clients, BATCH, "stacked", "cpu")
    run = split_steps(built)
    run()
    faults = []

    def counted() -> None:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        run()
        faults.append((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / STEPS)

    seconds = least_seconds(counted, passes) / STEPS
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    engine: Any = built.trainer.engine
    held: Stack = engine.block.stack
    alone = adam_seconds(held, passes * STEPS)
    gigabytes = sum(tensor.numel() * tensor.element_size() for tensor in held.parameters.values()) / 1e9
    return {
        "ms_per_client": 1e3 * seconds / clients,
        "step_gb_per_second": STEP_MOVES * gigabytes / seconds,
        "adam_gb_per_second": ADAM_MOVES * gigabytes / alone,
        "share_of_adam": (STEP_MOVES / seconds) / (ADAM_MOVES / alone),
        "page_faults_per_step": min(faults),
        "peak_gb": peak,
        "groups_beyond_bytes": stack.WHOLE_BYTES,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", default="1000,2000,3000,4000")
    parser.add_argument("--passes", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="keep the result in benchmarks/results")
    parser.add_argument("--measure", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.measure, arguments.passes)))
        return
    found = {}
    for clients in arguments.clients.split(","):
        words = [sys.executable, __file__, "--measure", clients, "--passes", str(arguments.passes)]
        environment = {LARGE_PAGES: "1", **os.environ}  # as the command line starts
        done = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True, env=environment)
        found[clients] = json.loads(done.stdout.splitlines()[-1])
        print(clients, found[clients], flush=True)
    command = f"python benchmarks/large_stack.py --clients {arguments.clients} --passes {arguments.passes}"
    result: dict[str, object] = {"machine": {**machine(), "threads": 1}, "command": command, "clients": found}
    write_result("large_stack", "cpu", result, keep=arguments.write)


if __name__ == "__main__":
    main()
