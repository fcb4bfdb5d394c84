"""What commands cost before they do anything, in processor seconds, which other processes hardly change."""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from record import machine, write_result

FIRST_STEP = """
import os, sys
from sglr.cli import progress
from sglr.cli.main import main
from sglr.core.events import StepDone
progress.PlainProgress.observe = lambda view, event: os._exit(0) if isinstance(event, StepDone) else None
sys.exit(main(sys.argv[1:]) or "no step was taken")
"""
"""Ends the process once it has taken its first step."""

TRAIN = ["train", "--epochs", "1", "--threads", "1", "--out"]

COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "import torch": ["-c", "import torch"],
    "sglr --help": ["-m", "sglr", "--help"],
    "sglr list methods": ["-m", "sglr", "list", "methods"],
    "sglr train --help": ["-m", "sglr", "train", "--help"],
    "sglr train, to its first step": ["-c", FIRST_STEP, *TRAIN],
    "sglr train --epochs 1": ["-m", "sglr", *TRAIN],
}


def processor_seconds(arguments: list[str], out: Path) -> float:
    words = [*arguments, str(out)] if arguments[-1] == "--out" else arguments
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, *words], check=True, capture_output=True, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--write", action="store_true", help="keep the result under benchmarks/results")
    arguments = parser.parse_args()
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    with tempfile.TemporaryDirectory() as folder:
        for round_ in range(arguments.rounds):
            for number, (name, command) in enumerate(COMMANDS.items()):
                times[name].append(processor_seconds(command, Path(folder) / f"{number}-{round_}"))
    result: dict[str, object] = {
        "machine": machine(),
        "command": f"python benchmarks/startup.py --rounds {arguments.rounds}",
        "least_processor_seconds": {name: round(min(values), 2) for name, values in times.items()},
    }
    write_result("startup", "cpu", result, keep=arguments.write)


if __name__ == "__main__":
    main()
