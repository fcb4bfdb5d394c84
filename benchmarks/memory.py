"""Peak memory of one more client: each size trains two epochs in a fresh process."""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys

from contenders import STEPS, build_split, make_data, split_steps
from record import machine, write_result


def peak_of(model: str, clients: int, total: int) -> dict[str, int]:
    """Train ``clients`` clients whose batches sum to ``total``; return peak and segment bytes."""
    built = build_split(model, make_data(model, clients, total // clients), clients, total // clients, "stacked", "cpu")
    run = split_steps(built)
    run()
    run()
    weights = built.trainer.engine.collect((0,))
    segment = sum(tensor.numel() * tensor.element_size() for tensor in weights.values())
    return {"peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, "segment": segment}


def in_fresh_process(model: str, clients: int, total: int) -> dict[str, int]:
    command = [sys.executable, __file__, "--one", model, str(clients), str(total)]
    answer: dict[str, int] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return answer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--one", nargs=3, metavar=("MODEL", "CLIENTS", "TOTAL"))
    parser.add_argument("--write", action="store_true", help="keep the result under benchmarks/results")
    arguments = parser.parse_args()
    if arguments.one:
        model, clients, total = arguments.one
        print(json.dumps(peak_of(model, int(clients), int(total))))
        return
    rows = []
    # The total batch stays the same, so activations do: what grows is what a client's segment costs.
    for model, few, many, total in (("mlp", 100, 1000, 2000), ("resnet16", 8, 80, 160)):
        low, high = in_fresh_process(model, few, total), in_fresh_process(model, many, total)
        extra = (high["peak"] - low["peak"]) / (many - few)
        row = {"model": model, "clients": [few, many], "total_batch": total, "steps": STEPS}
        row |= {"segment_bytes": low["segment"], "extra_bytes_per_client": round(extra)}
        rows.append(row | {"in_segments": round(extra / low["segment"], 2)})
    result = {"machine": machine(), "command": "python benchmarks/memory.py", "rows": rows}
    write_result("memory", "cpu", result, keep=arguments.write)


if __name__ == "__main__":
    main()
