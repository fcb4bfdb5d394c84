"""How long commands take before they do anything, against a Python that does nothing."""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time

from record import machine, write_result

COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "sglr --help": ["-m", "sglr", "--help"],
    "sglr list methods": ["-m", "sglr", "list", "methods"],
    "sglr train --help": ["-m", "sglr", "train", "--help"],
}


def seconds(arguments: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--write", action="store_true", help="keep the result under benchmarks/results")
    arguments = parser.parse_args()
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for round_ in range(arguments.rounds + 1):
        for name, command in COMMANDS.items():
            taken = seconds(command)
            if round_ > 0:
                times[name].append(taken)
    result: dict[str, object] = {
        "machine": machine(),
        "command": f"python benchmarks/startup.py --rounds {arguments.rounds}",
        "median_seconds": {name: round(statistics.median(values), 2) for name, values in times.items()},
    }
    write_result("startup", "cpu", result, keep=arguments.write)


if __name__ == "__main__":
    main()
