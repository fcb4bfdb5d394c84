"""The parts of a training: those that are given as Python objects, and all of them, ready to run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import nn

from sglr.adapters import AdaptedModel
from sglr.core.cuts.client_cuts import ClientCuts
from sglr.core.data import ClientData, Dataset
from sglr.core.engine import Engine
from sglr.core.method import Method
from sglr.core.task import Task
from sglr.core.trainer import Trainer
from sglr.core.weights import Weights
from sglr.cost.clock import Clock
from sglr.parties.defences import DefenceChain
from sglr.parties.spec import ClientSpec
from sglr.splitting import Thirds


def _no_adapters() -> None:
    """Return that there are no adapters."""


@dataclass(frozen=True)
class PartOverrides:
    """Parts given as Python objects instead of by name; None where the settings name the part."""

    method: Method | None = None
    model: nn.Module | Callable[..., nn.Module] | None = None
    dataset: Dataset | None = None
    engine: Callable[[ClientSpec], Engine] | None = None
    task: Task | None = None
    poison: Callable[[ClientData], ClientData] | None = None
    """Changes the divided data as an attacking client would."""
    frozen: Weights | None = None
    """Frozen weights of the whole model that a run began with; None for a new run."""


@dataclass(frozen=True)
class Training:
    """A training ready to run, and what its summary tells of the parts."""

    trainer: Trainer
    data: ClientData
    method: Method
    task: Task
    cut: str | int
    device: torch.device
    lower: Callable[[int], nn.Module]
    """Gives a client's lower segment with its initial weights, by client id."""
    fresh: Callable[[int, int], Thirds]
    """Gives all segments, as a client knows them, with other initial weights than any has, by seed and client id."""
    client_store: str = "memory"
    """Where clients that don't take part in a round are stored: ``"memory"`` or ``"disk"``."""
    choices: Mapping[str, str] = field(default_factory=dict)
    """Settings that a measurement chose, by name."""
    tail: str | int | None = None
    """The server's last layer, if the layers behind it and the labels stay with the clients."""
    defences: DefenceChain = field(default_factory=DefenceChain)
    """The defences."""
    frozen: Weights = field(default_factory=dict)
    """Frozen weights of the whole model, by name."""
    adapted: Callable[[], AdaptedModel | None] = _no_adapters
    """Gives the model that adapters are trained in; None without adapters."""
    clock: Clock | None = None
    """What models how long the training would take on the clients' devices and links; None without them."""
    cuts: ClientCuts | None = None
    """Which client is cut where; None where all are cut at one place."""

    def cut_of(self, client: int) -> int:
        """Return the number of a client's cut, 0 where all are cut at one place."""
        return 0 if self.cuts is None else self.cuts.places[client]
