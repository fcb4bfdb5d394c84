"""The parts of a training: those that are given as Python objects, and all of them, ready to run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import nn

from sglr.core.data import ClientData, Dataset
from sglr.core.engine import Engine
from sglr.core.method import Method
from sglr.core.trainer import Trainer
from sglr.core.weights import Weights
from sglr.parties.defences import DefenceChain
from sglr.parties.spec import ClientSpec
from sglr.splitting import Thirds


@dataclass(frozen=True)
class PartOverrides:
    """Parts given as Python objects instead of by name; None where the settings name the part."""

    method: Method | None = None
    model: nn.Module | Callable[..., nn.Module] | None = None
    dataset: Dataset | None = None
    engine: Callable[[ClientSpec], Engine] | None = None
    poison: Callable[[ClientData], ClientData] | None = None
    """What an attacking client makes of its data once they are divided."""
    frozen: Weights | None = None
    """Frozen weights of the whole model that a run began with; None where it begins now."""


@dataclass(frozen=True)
class Training:
    """A training ready to run, and what its summary tells of the parts."""

    trainer: Trainer
    data: ClientData
    method: Method
    cut: str | int
    device: torch.device
    lower: Callable[[int], nn.Module]
    """Gives a client's lower segment with its first weights, by client id."""
    fresh: Callable[[int], Thirds]
    """Gives all segments with first weights that nobody has had, by seed."""
    client_store: str = "memory"
    """Where clients are that don't take part in a round: ``"memory"`` or ``"disk"``."""
    choices: Mapping[str, str] = field(default_factory=dict)
    """Settings that were left to a measurement, and what it chose."""
    tail: str | int | None = None
    """The server's last layer, where what follows stays with the clients and the labels."""
    defences: DefenceChain = field(default_factory=DefenceChain)
    """The defences."""
    frozen: Weights = field(default_factory=dict)
    """Frozen weights of the whole model, by name."""
