"""Which weights and buffers of a model each party holds."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from sglr.splitting import Split

_UNIT = 2.0**-20
"""Weights are numbered in these steps: small, so that a trial run of the numbered model stays finite, and exact."""


def names_of_sides(model: nn.Module, divide: Callable[[nn.Module], Split]) -> tuple[set[str], set[str]]:
    """Return the names, in the whole model, of what a client and the server hold; a side that copies a weight has it.

    They are found by cutting a copy whose weights and buffers are numbered, because a cut may rename them.

    Parameters
    ----------
    model
        The whole model.
    divide
        Cuts a model: returns all that a client holds, and the server's segment.
    """
    numbered = copy.deepcopy(model)
    names: dict[int, list[str]] = {}
    numbers: dict[int, int] = {}
    for name, weight in numbered.named_parameters(remove_duplicate=False):
        number = numbers.setdefault(id(weight), len(numbers) + 1)
        names.setdefault(number, []).append(name)
        weight.data = torch.full(weight.shape, number * _UNIT, dtype=torch.float32)
    lower, upper = divide(numbered)
    holders = dict(model.named_modules())
    found = []
    for segment in (lower, upper):
        held = {name for weight in segment.parameters() for name in names.get(_number(weight), [])}
        modules = {parent for name in held for parent in parents(name)}
        # Buffers go with the weights of their module, or below it; modules with buffers alone train nothing either way.
        held |= {_joined(module, buffer) for module in modules for buffer in holders[module]._buffers}
        found.append(held)
    return found[0], found[1]


def parents(name: str) -> Iterator[str]:
    """Yield the names of the modules that contain a layer or a weight, the nearest first and ``""`` last."""
    while name:
        name = name.rpartition(".")[0]
        yield name


def _number(weight: Tensor) -> int:
    return round(float(weight.detach().flatten()[0]) / _UNIT) if weight.numel() else 0


def _joined(module: str, name: str) -> str:
    return f"{module}.{name}" if module else name
