"""How fast the local engine trains, as ratios within one run: against the unsplit model and a per-client loop.

The unsplit model on the same total batch is the floor that no split training can beat by much; the loop with one
module and one optimizer per client is how published code does it. Rounds of all contenders alternate, and each
ratio is of the medians, so that a machine that slows down slows them all.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from torch.nn import functional as F

from record import machine, write_result
from sglr.build import Built, Given, build
from sglr.config import Experiment
from sglr.core.data import Dataset, Samples
from sglr.core.memory import keep_freed_memory
from sglr.core.model import build_model
from sglr.core.split import split
from sglr.core.types import Moment

SHAPES = {"resnet16": (3, 32, 32), "cnn": (1, 28, 28), "mlp": (1, 28, 28)}
STEPS = 3
RATE = 0.0  # weights stay where they are: noise that is learnt by heart has denormal gradients, which are slow


def make_data(model: str, clients: int, batch: int) -> Dataset:
    generator = torch.Generator().manual_seed(0)
    number = clients * batch * STEPS
    samples = Samples(
        torch.randn(number, *SHAPES[model], generator=generator), torch.randint(10, (number,), generator=generator)
    )
    return Dataset("noise", samples, samples.select(torch.arange(20)), tuple("0123456789"))


def build_split(model: str, data: Dataset, clients: int, batch: int, stacking: str, device: str) -> Built:
    settings = {"method": "sglr", "model": model, "dataset": "<noise>", "clients": clients, "batch_size": batch}
    settings |= {"validation": 0, "stacking": stacking, "device": device, "init": "common"}
    return build(Experiment.from_flat(settings), Given(dataset=data))


def split_steps(built: Built) -> Callable[[], None]:
    trainer = built.trainer
    everyone = tuple(range(len(trainer.sizes)))
    trainer.server.rate = RATE

    def run() -> None:
        for step in range(trainer.engine.begin(everyone, 0)):
            moment = Moment(0, 1, step, STEPS, np.random.default_rng(step))
            uplink = trainer.engine.forward(step)
            trainer.engine.backward(trainer.method.exchange(trainer.server, uplink, moment), RATE)

    return run


def unsplit_steps(model: str, data: Dataset, total_batch: int, device: str) -> Callable[[], None]:
    """Train the unsplit model as a user would, images channels-last and the optimizer fused."""
    network = build_model(model, SHAPES[model], 10).to(device)
    optimizer = torch.optim.Adam(network.parameters(), fused=True)
    inputs, targets = data.train.inputs.to(device), data.train.targets.to(device)

    def run() -> None:
        for rows in torch.randperm(len(inputs), device=device).split(total_batch):
            batch = inputs[rows].contiguous(memory_format=torch.channels_last)
            optimizer.zero_grad()
            F.cross_entropy(network(batch), targets[rows]).backward()
            optimizer.step()

    return run


def published_loop_steps(model: str, data: Dataset, clients: int, batch: int, device: str) -> Callable[[], None]:
    """Train SGLR (φ = 1) as the published code does: a module and an Adam per client, one after another."""
    cut = build_model(model, SHAPES[model], 10).default_cut
    assert isinstance(cut, str)
    segments = [split(build_model(model, SHAPES[model], 10), cut) for _ in range(clients)]
    lowers, upper = [segment.lower.to(device) for segment in segments], segments[0].upper.to(device)
    optimizers = [torch.optim.Adam(lower.parameters()) for lower in lowers]
    server_optimizer = torch.optim.Adam(upper.parameters())
    inputs, targets = data.train.inputs.to(device), data.train.targets.to(device)

    def run() -> None:
        for rows in torch.randperm(len(inputs), device=device).split(clients * batch):
            own = rows.split(batch)
            smashed = [lower(inputs[part]) for lower, part in zip(lowers, own, strict=True)]
            received = torch.cat([part.detach() for part in smashed]).requires_grad_()
            server_optimizer.zero_grad()
            F.cross_entropy(upper(received), targets[rows]).backward()
            server_optimizer.step()
            assert received.grad is not None
            average = torch.stack(received.grad.split(batch)).mean(0)
            for optimizer, part in zip(optimizers, smashed, strict=True):
                optimizer.zero_grad()
                part.backward(average)
                optimizer.step()

    return run


def medians(contenders: dict[str, Callable[[], None]], samples: int, rounds: int) -> dict[str, float]:
    """Return samples per second of each contender, rounds alternating."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for round_ in range(rounds + 1):
        for name, run in contenders.items():
            started = time.perf_counter()
            run()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if round_ > 0:
                times[name].append(time.perf_counter() - started)
    return {name: samples / statistics.median(values) for name, values in times.items()}


def measure(model: str, clients: int, batch: int, rounds: int, device: str, *, loops: bool) -> dict[str, object]:
    data = make_data(model, clients, batch)
    contenders: dict[str, Callable[[], None]] = {
        "sglr stacked": split_steps(build_split(model, data, clients, batch, "stacked", device)),
        "unsplit": unsplit_steps(model, data, clients * batch, device),
    }
    if loops:
        contenders["sglr looped"] = split_steps(build_split(model, data, clients, batch, "looped", device))
        contenders["published loop"] = published_loop_steps(model, data, clients, batch, device)
    rates = medians(contenders, len(data.train), rounds)
    own = rates["sglr stacked"]
    ratios = {f"stacked / {name}": round(own / rate, 2) for name, rate in rates.items() if name != "sglr stacked"}
    row = {"model": model, "clients": clients, "batch": batch}
    return row | {"samples_per_second": {name: round(rate) for name, rate in rates.items()}, "ratios": ratios}


def flat(model: str, batch: int, rounds: int, device: str) -> dict[str, object]:
    """Compare time per sample from few to many clients, C·b·steps equal: every size does the same work."""
    sizes = (10, 100, 1000)
    contenders = {}
    for clients in sizes:
        run = split_steps(build_split(model, make_data(model, clients, batch), clients, batch, "stacked", device))
        repeats = max(sizes) // clients

        def repeated(run: Callable[[], None] = run, repeats: int = repeats) -> None:
            for _ in range(repeats):
                run()

        contenders[str(clients)] = repeated
    rates = medians(contenders, max(sizes) * batch * STEPS, rounds)
    relative = {clients: round(rates["10"] / rate, 2) for clients, rate in rates.items()}
    return {"model": model, "microseconds_per_sample": {c: round(1e6 / r, 1) for c, r in rates.items()}} | {
        "time_per_sample_relative_to_10_clients": relative
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--write", action="store_true", help="keep the result under benchmarks/results")
    arguments = parser.parse_args()
    if arguments.device == "cpu":
        keep_freed_memory()
    cases = [("resnet16", 20), ("cnn", 20), ("cnn", 100), ("mlp", 100)]
    rows = [measure(m, c, 8, arguments.rounds, arguments.device, loops=True) for m, c in cases]
    result = {
        "machine": machine(),
        "command": f"python benchmarks/throughput.py --device {arguments.device} --rounds {arguments.rounds}",
        "throughput": rows,
        "flat_in_clients": flat("cnn", 8, max(2, arguments.rounds // 2), arguments.device),
    }
    write_result("throughput", arguments.device, result, keep=arguments.write)


if __name__ == "__main__":
    main()
