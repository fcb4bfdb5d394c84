"""What an epoch of each method costs, beside what its work at clients and server implies from PSL's.

PSL's epoch is measured in two parts, at the clients and at the server, with eight samples of a client in a step and
with one: so the server's part is known as so much for a pass and so much for a sample. A method that does q times PSL's
operations at a client, r times at the server, in p passes, is implied to cost q times the clients' part, r times the
server's samples, and p passes. Times are processor times of this process with one thread, medians of rounds in which
all methods take turns, so that a machine that does other work slows all alike.

    python benchmarks/method_steps.py --write
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, field
from statistics import median
from typing import Any
from unittest.mock import patch

import torch

from contenders import SHAPES, make_data
from record import machine, write_result
from sglr.assembly.build import build
from sglr.assembly.parts import PartOverrides, Training
from sglr.core.data import Dataset
from sglr.core.server_protocol import Server
from sglr.core.types import Downlink, StepContext, Uplink
from sglr.cost.training_flops import Computation, count_training
from sglr.methods.psl import PSL
from sglr.parties.counted_passes import CountedPasses
from sglr.runs.config import Experiment
from sglr.stacking.passes import Pass

METHODS = (
    "psl",
    "sgl",
    "sglr",
    "sglr2",
    "sfl",
    "sflv1",
    "sflv2",
    "ssl",
    "minibatch-sfl",
    "gpsl",
    "mergesfl",
    "scala",
    "cyclesl",
    "mix2sfl",
    "locfedmix-sl",
    "epsl",
    "gas",
    "cse-fsl",
    "fsl-sage",
)
CLIENTS, BATCH, STEPS, GOAL = 10, 8, 10, 1.3
ONE = "psl with batches of one"
SETTINGS: dict[str, Any] = {
    "dataset": "<noise>",
    "clients": CLIENTS,
    "batch_size": BATCH,
    "epochs": 1,
    "lr": 1e-4,
    "validation": 0,
    "partition": "iid",
    "stacking": "stacked",
    "device": "cpu",
}


@dataclass(frozen=True)
class TimedPSL(PSL):
    """PSL that notes how long its server takes."""

    taken: list[float] = field(default_factory=list)

    def exchange(self, server: Server, uplink: Uplink, context: StepContext) -> Downlink:
        """Take a step, and note the processor time."""
        started = time.process_time()
        answer = super().exchange(server, uplink, context)
        self.taken.append(time.process_time() - started)
        return answer


@dataclass
class Times:
    """Processor seconds of a method's rounds and of its server in them, and what one round computed.

    Only PSL's server is timed. ``passes`` are those through the server's segment.
    """

    every: list[float] = field(default_factory=list)
    at_server: list[float] = field(default_factory=list)
    counted: Computation | None = None
    passes: int = 0


def built(model: str, method: str, data: Dataset, batch: int) -> Training:
    """Build a training of one epoch."""
    experiment = Experiment.from_flat({**SETTINGS, "model": model, "method": method, "batch_size": batch})
    return build(experiment, PartOverrides(dataset=data))


def measure(model: str, methods: tuple[str, ...], rounds: int) -> dict[str, Times]:
    """Return each method's times, and those of PSL with one sample of a client in a step; the first round warms up."""
    large, small = (make_data(model, CLIENTS, batch, STEPS) for batch in (BATCH, 1))
    found = {name: Times() for name in (*methods, ONE)}
    for round_ in range(rounds + 1):
        for name, times in found.items():
            method, data, batch = ("psl", small, 1) if name == ONE else (name, large, BATCH)
            training, timed = built(model, method, data, batch), TimedPSL()
            if method == "psl":
                training.trainer.method = timed
            if round_ == 0:
                times.passes, times.counted = counted(model, training)
                continue
            started = time.process_time()
            training.trainer.run()
            times.every.append(time.process_time() - started)
            times.at_server.append(sum(timed.taken))
    return found


def counted(model: str, training: Training) -> tuple[int, Computation]:
    """Train, and return the passes through the server's segment and all operations."""
    forward, passes = CountedPasses.forward, 0

    def noted(own: CountedPasses, *given: Any, **options: Any) -> Pass:
        nonlocal passes
        passes += 1
        return forward(own, *given, **options)

    with patch.object(CountedPasses, "forward", noted):
        training.trainer.run()
    work = training.trainer.server.work
    return passes, count_training(training.trainer, training.lower(0), SHAPES[model], work=work)


def fixed_cost(found: dict[str, Times]) -> float:
    """Return the seconds of a step of PSL's server without samples, by those with 80 and with 10."""
    many, few = (median(found[name].at_server) / STEPS for name in ("psl", ONE))
    return max(0.0, (BATCH * few - many) / (BATCH - 1))


def table(found: dict[str, Times]) -> list[dict[str, Any]]:
    """Return, for each method, how its time and its operations are to PSL's, and its time to what they imply."""
    base, each = found["psl"], fixed_cost(found)
    whole, at_server = median(base.every), median(base.at_server)
    assert base.counted is not None
    rows = []
    for name, times in found.items():
        own = times.counted
        if name == ONE or own is None:
            continue
        server = own.server_flops / base.counted.server_flops
        client = float(own.client_flops.mean() / base.counted.client_flops.mean())
        by_samples = (whole - at_server) * client + at_server * server
        by_passes = by_samples + each * (times.passes - base.passes * server)
        rows.append(
            {
                "method": name,
                "seconds": round(median(times.every), 4),
                "to_psl": round(median(times.every) / whole, 2),
                "server_operations_to_psl": round(server, 2),
                "client_operations_to_psl": round(client, 2),
                "server_passes": times.passes,
                "to_operations": round(median(times.every) / by_samples, 2),
                "to_implied": round(median(times.every) / by_passes, 2),
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="cnn", choices=sorted(SHAPES))
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS, help="psl is always among them")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--write", action="store_true", help="keep the result under benchmarks/results")
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = measure(options.model, tuple(dict.fromkeys(["psl", *options.methods])), options.rounds)
    rows = table(found)
    result: dict[str, object] = {
        "machine": machine(),
        "shared": "the machine did other work, too: processor times, and ratios of medians of interleaved rounds",
        "command": f"python benchmarks/method_steps.py --model {options.model} --rounds {options.rounds} --write",
        "settings": {**SETTINGS, "model": options.model, "steps": STEPS},
        "server_share_of_psl": round(median(found["psl"].at_server) / median(found["psl"].every), 2),
        "seconds_of_a_pass_without_samples": round(fixed_cost(found), 5),
        "rows": rows,
        f"above_{GOAL}": [row["method"] for row in rows if row["to_implied"] > GOAL],
    }
    write_result("method_steps", f"{options.model}-cpu", result, keep=options.write)


if __name__ == "__main__":
    main()
