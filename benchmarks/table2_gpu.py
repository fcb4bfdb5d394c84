"""All of the paper's Table 2 on one GPU, in jobs of limited length.

The same command again goes on where the last one stopped, so that a table which does not fit one job takes several.
Only then are time and samples per second those of the whole table.
"""

from __future__ import annotations

import argparse
import resource
import time
from pathlib import Path

import torch

from record import machine, write_result
from sglr.core.errors import Interrupted
from sglr.runs.folder import CONFIG, Run
from sglr.studies.papers.reproduce import reproduce
from sglr.studies.scheduler.progress import StudyProgress


def samples_of(folder: Path) -> int:
    """Count the training samples that the runs in a folder have used in the epochs that are over."""
    histories = [Run.open(path.parent).history for path in folder.glob(f"cells/*/{CONFIG}")]
    return sum(int(history[-1]["samples"]) for history in histories if history)


def peak_bytes(device: str) -> int:
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", default="full", choices=["full", "small", "smoke"])
    parser.add_argument("--device", default="cuda", choices=["cpu", "cuda"])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=9.0, help="stop with checkpoints after so long")
    parser.add_argument("--out", type=Path, default=Path("runs/table2"), help="folder of the runs, kept between jobs")
    parser.add_argument("--write", action="store_true", help="keep the result under benchmarks/results")
    arguments = parser.parse_args()
    before, started = samples_of(arguments.out), time.perf_counter()
    seen: list[StudyProgress] = []

    def observe(progress: object) -> None:
        if not isinstance(progress, StudyProgress):
            return
        seen.append(progress)
        print(f"{progress.done} of {progress.total} runs after {time.perf_counter() - started:.0f} s", flush=True)

    try:
        reproduce(
            ["table2"],
            arguments.scale,
            seeds=arguments.seeds,
            device=arguments.device,
            jobs=1,
            out=arguments.out,
            observe=observe,
            stop=lambda: time.perf_counter() - started > 60 * arguments.minutes,
        )
        status = "whole"
    except Interrupted as error:
        status = f"to be continued by the same command ({error})"
    seconds, samples = time.perf_counter() - started, samples_of(arguments.out) - before
    result: dict[str, object] = {
        "machine": machine(),
        "command": f"python benchmarks/table2_gpu.py --scale {arguments.scale} --device {arguments.device} "
        f"--seeds {arguments.seeds} --minutes {arguments.minutes:g}",
        "status": status,
        "runs": {"done": seen[-1].done, "total": seen[-1].total} if seen else None,
        "seconds": round(seconds, 1),
        "samples": samples,
        "samples_per_second": round(samples / seconds),
        "peak_bytes": peak_bytes(arguments.device),
    }
    write_result(f"table2-{arguments.scale}", arguments.device, result, keep=arguments.write)


if __name__ == "__main__":
    main()
