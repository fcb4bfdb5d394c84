"""Targets that a task takes, whichever it is: found by trying kinds of them until the task does not refuse."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from sglr.core.data import ClientData, Dataset, Samples
from sglr.core.errors import UsageError
from sglr.core.registry import TASKS
from sglr.core.task import Targets, Task

KINDS: Sequence[Targets] = (
    Targets.of_classes(("no", "yes")),
    Targets.of_classes(("low", "middle", "high")),
    Targets((), (6,), "int64", 7),
    Targets(("x", "y", "z"), (3,), "int64", 2),
    Targets(("length", "weight"), (2,), "float32"),
    Targets((), (), "float32"),
    Targets(("back", "front", "edge"), (8, 8), "uint8", 3),
)


def make_task(name: str) -> Task:
    """Return a task with its defaults."""
    task: Task = TASKS.load(name)()
    return task


def targets_of(task: Task) -> Targets:
    """Return the first kind of targets that a task takes."""
    for kind in KINDS:
        try:
            task.check(kind)
        except UsageError:
            continue
        return kind
    raise AssertionError(f"{task} takes none of {KINDS}: add a kind")


def draw(inputs: Tensor, targets: Targets) -> Tensor:
    """Return targets ``[N, ...]`` that depend on inputs ``[N, ...]``."""
    size = 1
    for length in targets.shape:
        size *= length
    flat = inputs.float().flatten(1)
    values = flat[:, torch.arange(size) % flat.shape[1]]
    if targets.classes:
        values = (values.sigmoid() * targets.classes).floor().clamp(0, targets.classes - 1)
    return values.reshape(len(inputs), *targets.shape).to(targets.torch_dtype)


def inputs_for(targets: Targets, number: int, seed: int) -> Tensor:
    """Return inputs: tokens for tokens, pictures for masks, rows of numbers else."""
    rng = torch.Generator().manual_seed(seed)
    if len(targets.shape) > 1:
        return torch.randn(number, 1, *targets.shape, generator=rng)
    if targets.classes > 2 and targets.shape:
        return torch.randint(targets.classes, (number, *targets.shape), generator=rng)
    return torch.randn(number, 4, generator=rng)


@dataclass(frozen=True)
class MadeUp:
    """A data set for a task, which server and sites make alike."""

    of: str = field(default="classification", metadata={"help": "the task", "clients": "take"})

    def load(self, data_dir: Path | None) -> Dataset:
        """Draw it."""
        del data_dir
        targets = targets_of(make_task(self.of))
        train, test = (inputs_for(targets, number, seed) for number, seed in ((90, 1), (40, 2)))
        parts = (Samples(part, draw(part, targets)) for part in (train, test))
        return Dataset("made-up", *parts, targets=targets)


def clients_for(task: Task, sizes: Sequence[int]) -> ClientData:
    """Give client i the next ``sizes[i]`` samples for a task; 7 more are for validation and test."""
    targets = targets_of(task)
    inputs, held = (inputs_for(targets, number, seed).float() for number, seed in ((sum(sizes), 1), (7, 2)))
    train, test = Samples(inputs, draw(inputs, targets)), Samples(held, draw(held, targets))
    rows = torch.arange(sum(sizes)).split(list(sizes))
    return ClientData(train, tuple(rows), test, test, targets)


@dataclass(frozen=True)
class Lower:
    """Makes a client's segment for inputs of any shape."""

    data: ClientData

    def __call__(self, client: int) -> nn.Module:
        torch.default_generator.manual_seed(client)
        return nn.Sequential(nn.Flatten(), nn.Linear(self.data.train.inputs[0].numel(), 3), nn.Tanh())


def upper_for(task: Task, data: ClientData) -> nn.Module:
    """Return a server's segment for a task."""
    torch.default_generator.manual_seed(99)
    shape = task.output_shape(data.targets)
    return nn.Sequential(nn.Linear(3, math.prod(shape)), nn.Unflatten(1, shape))
