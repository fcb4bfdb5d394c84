"""What the remote engine costs per step beyond computing, against a bare gRPC echo of the same bytes with the same TLS.

20 clients in 1, 2 and 20 processes, the server in another, all on this machine, mutual TLS over loopback. In each step
every client sends 256 KiB and receives 256 KiB. The segment is one multiplication, so that little is computed; the
processor time of that is measured too, where it happens and by itself, and subtracted: from the time of a step, as far
as cores can share it. The echo has as many processes of clients as the engine. Contenders take turns.

    python benchmarks/remote.py --write
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
from pathlib import Path

import torch

from record import machine, write_result
from remote_clients import PAYLOAD
from remote_servers import computing, echo_side, engine_side
from sglr.system.allocator import keep_freed_memory

SIDES = {"echo": echo_side, "sglr": engine_side}

Found = dict[str, float]


def measured(clients: int, processes: int, steps: int, rounds: int) -> dict[str, Found]:
    """Run the contenders in turns; return the median of each figure."""
    rows: dict[str, list[Found]] = {name: [] for name in SIDES}
    for _ in range(rounds):
        for name, side in SIDES.items():
            with tempfile.TemporaryDirectory() as folder:
                rows[name].append(side(clients, steps, processes, Path(folder)))
            shown = {key: round(value, 1) for key, value in rows[name][-1].items()}
            print(f"{processes} processes, {name}: {shown}", flush=True)
    return {
        name: {key: statistics.median(row[key] for row in found) for key in found[0]} for name, found in rows.items()
    }


def ratios(found: dict[str, Found], alone: float, processes: int) -> Found:
    """Compare the engine beyond computing with the echo: time of a step, and processor time of all processes.

    Computing is what trainers took in place; ``alone`` is what they take one after another without messages.
    """
    sglr, echo = found["sglr"], found["echo"]
    spent = {name: row["server_cpu_ms"] + row["clients_cpu_ms"] for name, row in found.items()}
    cores = min(processes, os.cpu_count() or 1)
    result = {"server_processor": sglr["server_cpu_ms"] / echo["server_cpu_ms"]}
    for name, computed in (("", sglr["computing_cpu_ms"]), ("_beyond_computing_alone", alone)):
        result[f"time{name}"] = (sglr["step_ms"] - computed / cores) / echo["step_ms"]
        result[f"processor{name}"] = (spent["sglr"] - computed) / spent["echo"]
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2, 20], help="of clients")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="keep the result in benchmarks/results")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    alone = computing(arguments.clients, arguments.steps)
    result: dict[str, object] = {
        "machine": machine(),
        "clients": arguments.clients,
        "payload_bytes": PAYLOAD,
        "computing_alone_cpu_ms": alone,
    }
    for processes in arguments.processes:
        found = measured(arguments.clients, processes, arguments.steps, arguments.rounds)
        result[f"{processes} processes"] = {**found, "ratios": ratios(found, alone, processes)}
    write_result("remote", "cpu", result, keep=arguments.write)


if __name__ == "__main__":
    main()
