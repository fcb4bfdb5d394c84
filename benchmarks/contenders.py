"""The contenders of the benchmarks: SGLR with this library, the unsplit model, and the loop of published code."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from torch.nn import functional as F

from sglr.assembly.build import build
from sglr.assembly.parts import PartOverrides, Training
from sglr.core.data import Dataset, Samples
from sglr.core.model import build_model
from sglr.core.types import StepContext
from sglr.runs.config import Experiment
from sglr.splitting import split
from sglr.stacking.precision import SINGLE_PRECISION, Precision

SHAPES = {"resnet16": (3, 32, 32), "cnn": (1, 28, 28), "mlp": (1, 28, 28)}
STEPS = 3
RATE = 0.0  # weights stay where they are: noise that is learnt by heart has denormal gradients, which are slow


def make_data(model: str, clients: int, batch: int, steps: int = STEPS) -> Dataset:
    generator = torch.Generator().manual_seed(0)
    number = clients * batch * steps
    samples = Samples(
        torch.randn(number, *SHAPES[model], generator=generator), torch.randint(10, (number,), generator=generator)
    )
    return Dataset("noise", samples, samples.select(torch.arange(20) % number), tuple("0123456789"))


def build_split(
    model: str,
    data: Dataset,
    clients: int,
    batch: int,
    stacking: str,
    device: str,
    precision: Precision = SINGLE_PRECISION,
) -> Training:
    """Build SGLR whose clients own equal parts of ``data``."""
    settings: dict[str, object] = {
        "method": "sglr",
        "model": model,
        "dataset": "<noise>",
        "clients": clients,
        "batch_size": batch,
    }
    settings |= {"validation": 0, "stacking": stacking, "device": device, "init": "common"}
    settings |= {"precision": precision.precision, "compile": precision.compiled}
    return build(Experiment.from_flat(settings), PartOverrides(dataset=data))


def split_steps(built: Training) -> Callable[[], None]:
    """Take everyone through their data once."""
    trainer = built.trainer
    everyone = tuple(range(len(trainer.sizes)))

    def run() -> None:
        for step in range(trainer.engine.begin_epoch(everyone, 0)):
            draws, sizes = np.random.default_rng(step), trainer.sizes
            context = StepContext(0, 1, step, STEPS, draws, step, RATE, data_sizes=sizes)
            uplink = trainer.engine.forward(step)
            trainer.engine.backward(trainer.method.exchange(trainer.server, uplink, context), RATE)

    return run


def unsplit_steps(
    model: str, data: Dataset, total_batch: int, device: str, precision: Precision = SINGLE_PRECISION
) -> Callable[[], None]:
    """Train the unsplit model as a user would, images channels-last and the optimizer fused."""
    network = build_model(model, SHAPES[model], 10).to(device)
    precision.prepare(torch.device(device))
    forward = torch.compile(network) if precision.compiled else network
    optimizer = torch.optim.Adam(network.parameters(), fused=True)
    inputs, targets = data.train.inputs.to(device), data.train.targets.to(device)

    def run() -> None:
        for rows in torch.randperm(len(inputs), device=device).split(total_batch):
            batch = inputs[rows].contiguous(memory_format=torch.channels_last)
            optimizer.zero_grad()
            with precision.mixed(torch.device(device)):
                scores = forward(batch)
            F.cross_entropy(scores.float(), targets[rows]).backward()
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
