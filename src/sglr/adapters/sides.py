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

    Parameters
    ----------
    model
        The whole model.
    divide
        Cuts a model: returns all that a client holds, and the server's segment.
    """
    holders = dict(model.named_modules())
    found = []
    for names in names_in_segments(model, divide):
        held = {place for places in names.values() for place in places}
        modules = {parent for name in held for parent in parents(name)}
        # Buffers go with the weights of their module, or below it; modules with buffers alone train nothing either way.
        held |= {_joined(module, buffer) for module in modules for buffer in holders[module]._buffers}
        found.append(held)
    return found[0], found[1]


def names_in_segments(
    model: nn.Module, divide: Callable[[nn.Module], Split]
) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Return the names in the whole model of each weight that a client and the server hold, by its name there.

    They are found by cutting a copy whose weights are numbered, because a cut may rename them. Buffers are named like
    the weights beside or below them; others have no name.

    Parameters
    ----------
    model, divide
        As in `names_of_sides`.
    """
    numbered = copy.deepcopy(model)
    names: dict[int, list[str]] = {}
    numbers: dict[int, int] = {}
    for name, weight in numbered.named_parameters(remove_duplicate=False):
        if not weight.is_floating_point():
            continue  # never trained, and mostly an index
        number = numbers.setdefault(id(weight), len(numbers) + 1)
        names.setdefault(number, []).append(name)
        weight.data = torch.full(weight.shape, number * _UNIT, dtype=torch.float32)
    lower, upper = divide(numbered)
    return _renamed(lower, names), _renamed(upper, names)


def _renamed(segment: nn.Module, names: dict[int, list[str]]) -> dict[str, list[str]]:
    found = {name: names.get(_number(weight), []) for name, weight in segment.named_parameters()}
    modules: dict[str, set[str]] = {}
    for name, places in found.items():
        for place in places:
            for module, other in _modules_alike(name, place):
                modules.setdefault(module, set()).add(other)
    for name, _ in segment.named_buffers():
        module, _, own = name.rpartition(".")
        found[name] = sorted(_joined(place, own) for place in modules.get(module, ()))
    return found


def _modules_alike(name: str, place: str) -> Iterator[tuple[str, str]]:
    """Yield the modules that hold a weight, by their names in a segment and in the whole model, the innermost first."""
    while name and place and name.rpartition(".")[2] == place.rpartition(".")[2]:
        name, place = name.rpartition(".")[0], place.rpartition(".")[0]
        yield name, place


def parents(name: str) -> Iterator[str]:
    """Yield the names of the modules that contain a layer or a weight, the nearest first and ``""`` last."""
    while name:
        name = name.rpartition(".")[0]
        yield name


def _number(weight: Tensor) -> int:
    return round(float(weight.detach().flatten()[0]) / _UNIT) if weight.numel() else 0


def _joined(module: str, name: str) -> str:
    return f"{module}.{name}" if module else name
