"""Layers with adapters on their way to another process, which imports peft when the first arrives."""

from __future__ import annotations

import copyreg
from importlib import import_module
from types import ModuleType
from typing import Any

from torch import nn

from sglr.system.torchvision import load_torchvision


def register(peft: ModuleType) -> None:
    """Let pickle rebuild peft's layers by `blank`: peft imports torchvision, which may need help."""
    layers = peft.tuners.lora.layer
    for kind in (layers.Linear, layers.Embedding, layers.Conv1d, layers.Conv2d, layers.Conv3d):
        copyreg.pickle(kind, _reduced)


def blank(module: str, name: str) -> Any:
    """Return a layer of a class of peft, without anything in it."""
    load_torchvision()
    kind = getattr(import_module(module), name)
    return kind.__new__(kind)


def _reduced(layer: nn.Module) -> tuple[Any, ...]:
    return blank, (type(layer).__module__, type(layer).__qualname__), layer.__dict__
