"""Small networks that adapters are tried on."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from sglr.core.data import Dataset, Samples

INPUTS, WIDTH, CLASSES = 6, 8, 3


class Mixer(nn.Module):
    """A layer with named parts: ``query`` and ``value``, and a buffer that never changes."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.value = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.register_buffer("places", torch.arange(WIDTH), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.tanh(self.query(x)) * self.value(x)[:, self.places]


def network(input_shape: tuple[int, ...] = (INPUTS,), classes: int = CLASSES, *, norm: bool = False) -> nn.Module:
    middle: list[nn.Module] = [nn.BatchNorm1d(WIDTH)] if norm else []
    first = (nn.Flatten(), nn.Linear(INPUTS, WIDTH), *middle, Mixer())
    return nn.Sequential(*first, Mixer(), nn.Linear(WIDTH, classes))


def normed(input_shape: tuple[int, ...], classes: int) -> nn.Module:
    """Build a network with running statistics that are not those of a new one."""
    model = network(input_shape, classes, norm=True)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.running_mean.uniform_(-0.5, 0.5)
            module.running_var.uniform_(0.5, 2)
    return model


def dataset(samples: int = 80) -> Dataset:
    rng = torch.Generator().manual_seed(0)
    inputs = torch.randn(samples + 20, INPUTS, generator=rng)
    targets = inputs[:, :CLASSES].argmax(1)
    parts = (Samples(inputs[:samples], targets[:samples]), Samples(inputs[samples:], targets[samples:]))
    return Dataset("drawn", *parts, tuple("abc"))


SETTINGS: dict[str, Any] = {
    "clients": 4,
    "batch_size": 8,
    "epochs": 2,
    "cut": 3,
    "threads": 1,
    "lr": 0.01,
    "lora": "r=2,alpha=4",
}
"""Of short trainings; the cut of `network` is behind its first mixer, that of a normed one before it."""
