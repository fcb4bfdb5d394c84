"""How much faster several trials train together than one after another, as a ratio within one run.

On a CPU, processor time is compared, which other work on the machine disturbs less; on a GPU the time that passes.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from contenders import split_steps
from record import machine, write_result
from sglr.build.build import Built, Given, build
from sglr.core.data import Dataset, Samples
from sglr.runs.config import Experiment
from sglr.studies.scheduler.rendezvous import Meeting
from sglr.studies.scheduler.trial_batching import take_seats
from sglr.system.allocator import keep_freed_memory

MODELS = ("resnet16", "cnn", "mlp")
SHAPE = (1, 14, 14)
BATCH, STEPS = 8, 10


def make_data(clients: int) -> Dataset:
    generator = torch.Generator().manual_seed(0)
    number = clients * BATCH * STEPS
    samples = Samples(
        torch.randn(number, *SHAPE, generator=generator), torch.randint(10, (number,), generator=generator)
    )
    return Dataset("noise", samples, samples.select(torch.arange(20)), tuple("0123456789"))


def make_trials(model: str, clients: int, trials: int, device: str) -> list[tuple[Experiment, Built]]:
    """Build trials of SGLR that differ in seed and alpha."""
    data = make_data(clients)
    return [_make_trial(model, clients, number, data, device) for number in range(trials)]


def _make_trial(model: str, clients: int, number: int, data: Dataset, device: str) -> tuple[Experiment, Built]:
    settings = {"method": "sglr", "alpha": 0.5 * number, "seed": number, "model": model, "dataset": "digits"}
    settings |= {"clients": clients, "batch_size": BATCH, "validation": 0, "device": device, "threads": 1}
    experiment = Experiment.from_flat(settings)
    return experiment, build(experiment, Given(dataset=data))


def in_turn(trials: list[tuple[Experiment, Built]]) -> Callable[[], None]:
    runs = [split_steps(built) for _, built in trials]

    def run() -> None:
        for each in runs:
            each()

    return run


def together(trials: list[tuple[Experiment, Built]]) -> Callable[[], None]:
    meeting: Meeting[None] = Meeting()
    for experiment, built in trials:
        reason = take_seats(meeting.join(split_steps(built)), experiment, built)
        assert reason is None, reason

    def run() -> None:
        for result in meeting.run():
            if isinstance(result, BaseException):
                raise result

    return run


def seconds(run: Callable[[], None], device: str) -> float:
    clock = time.process_time if device == "cpu" else time.perf_counter
    started = clock()
    run()
    if device != "cpu":
        torch.cuda.synchronize()
    return clock() - started


def measure(model: str, clients: int, trials: int, rounds: int, device: str) -> dict[str, object]:
    contenders = {
        "in turn": (in_turn, make_trials(model, clients, trials, device)),
        "together": (together, make_trials(model, clients, trials, device)),
    }
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for round_ in range(rounds + 1):
        for name, (prepare, built) in contenders.items():
            taken = seconds(prepare(built), device)
            if round_ > 0:
                times[name].append(taken)
    samples = trials * clients * BATCH * STEPS
    rates = {name: samples / statistics.median(values) for name, values in times.items()}
    row: dict[str, object] = {"model": model, "clients": clients, "trials": trials}
    row["samples_per_second"] = {name: round(rate) for name, rate in rates.items()}
    return row | {"together / in turn": round(rates["together"] / rates["in turn"], 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--models", nargs="+", default=MODELS, choices=MODELS)
    parser.add_argument("--clients", nargs="+", type=int, default=[1, 4, 10])
    parser.add_argument("--trials", nargs="+", type=int, default=[4])
    parser.add_argument("--write", action="store_true", help="keep the result under benchmarks/results")
    arguments = parser.parse_args()
    keep_freed_memory()
    rows = [
        measure(model, clients, trials, arguments.rounds, arguments.device)
        for model in arguments.models
        for clients in arguments.clients
        for trials in arguments.trials
    ]
    result: dict[str, object] = {
        "machine": machine(),
        "command": f"python benchmarks/trials.py --device {arguments.device} --rounds {arguments.rounds} "
        f"--clients {' '.join(map(str, arguments.clients))} --trials {' '.join(map(str, arguments.trials))}",
        "batch": BATCH,
        "rows": rows,
    }
    write_result("trials", arguments.device, result, keep=arguments.write)


if __name__ == "__main__":
    main()
