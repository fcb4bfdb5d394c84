"""A head that shares its weight with the embedding: both are trained only where one client has both (U-shape)."""

from __future__ import annotations

import copy

from torch import nn

from sglr.splitting.transformers.part import Transformer

Tie = tuple[str, str]
"""The names of one weight: in the base model, and in the head."""


def trained_ties(whole: Transformer) -> list[Tie]:
    """Return the trained weights that the head shares with the base model."""
    below: dict[nn.Parameter, str] = {}
    above: list[tuple[nn.Parameter, str]] = []
    for name, weight in whole.named_parameters(remove_duplicate=False):
        if whole.is_of_base(name):
            below.setdefault(weight, name)
        elif weight.requires_grad:
            above.append((weight, name))
    return [(below[weight], name) for weight, name in above if weight in below]


def untied(whole: Transformer, ties: list[Tie]) -> Transformer:
    """Return a copy whose head has weights of its own, of the same values."""
    found = copy.deepcopy(whole)
    for _, name in ties:
        _set(found, name, nn.Parameter(found.get_parameter(name).detach().clone()))
    return found


def tie(lower: nn.Module, tail: nn.Module, ties: list[Tie]) -> None:
    """Let a client's tail share the weights of its embedding again; both may stand within what packs their values."""
    for own, name in ties:
        _set(_inside(tail), name, _inside(lower).get_parameter(own))


def _inside(segment: nn.Module) -> nn.Module:
    return next(module for module in segment.modules() if isinstance(module, Transformer))


def _set(module: nn.Module, name: str, weight: nn.Parameter) -> None:
    place, _, last = name.rpartition(".")
    setattr(module.get_submodule(place), last, weight)
