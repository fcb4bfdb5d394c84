"""What a step of very many MLP clients costs beside one of 1,000: processor time and page faults per client.

Page faults are counted by the system and the same on a busy machine: memory that it takes back after every step is
zeroed and mapped again in the next. Each number of clients has a process of its own.

    python benchmarks/large_stack.py --write
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time

from record import machine, write_result

MODEL, BATCH, STEPS = "mlp", 8, 2


def measure(clients: int, passes: int) -> dict[str, float]:
    """Return the least of several passes over the data, per step, in this process."""
    import torch

    from contenders import build_split, make_data, split_steps
    from sglr.stacking import stack
    from sglr.system.allocator import keep_freed_memory

    torch.set_num_threads(1)
    keep_freed_memory()
    run = split_steps(build_split(MODEL, make_data(MODEL, clients, BATCH, STEPS), clients, BATCH, "stacked", "cpu"))
    run()
    times, faults = [], []
    for _ in range(passes):
        before, began = resource.getrusage(resource.RUSAGE_SELF).ru_minflt, time.process_time()
        run()
        times.append((time.process_time() - began) / STEPS)
        faults.append((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / STEPS)
    return {
        "ms_per_client": 1e3 * min(times) / clients,
        "page_faults_per_step": min(faults),
        "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
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
        done = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True)
        found[clients] = json.loads(done.stdout.splitlines()[-1])
        print(clients, found[clients], flush=True)
    command = f"python benchmarks/large_stack.py --clients {arguments.clients} --passes {arguments.passes}"
    result: dict[str, object] = {"machine": {**machine(), "threads": 1}, "command": command, "clients": found}
    write_result("large_stack", "cpu", result, keep=arguments.write)


if __name__ == "__main__":
    main()
