"""What a server is made of."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from sglr.core.cuts.client_cuts import ClientCuts
from sglr.core.optim import OptimizerSpec
from sglr.core.task import Task
from sglr.core.types import Answer
from sglr.parties.defences import DefenceChain
from sglr.stacking.precision import SINGLE_PRECISION, Precision
from sglr.stacking.stack import Stack


@dataclass(frozen=True)
class ServerSpec:
    """What a server is made of.

    Parameters
    ----------
    segment
        The upper segment; after it come outputs ``[N, ...]``, such as logits ``[N, K]``. The server takes it over.
    task
        What is learned.
    optimizer
        The server's optimizer.
    classes
        Number of classes; 0 where samples have no single class.
    clients
        Number of registered clients.
    label_prior
        As in `sglr.parties.training_loss.TrainingLoss`.
    clip_norm
        Largest norm of the server's gradient, or None.
    copies
        True if every client has its own copy of the upper segment (SplitFed v1).
    stacked
        Run such copies as one call, not one after another.
    precision
        In which precision passes are computed, and whether they are compiled.
    defences
        The defences of labels, which change the gradients that it sends, not its own steps.
    ask
        Where labels stay with the clients (U-shape): gives their answer to features ``[n, b, ...]`` of the clients that
        it is told. None where the server has the labels.
    head
        The head that clients begin with, where the server aligns heads; else None.
    cuts
        Which client is cut where, if the segment is a trunk with several entries; else None.
    """

    segment: nn.Module
    optimizer: OptimizerSpec
    task: Task
    classes: int
    clients: int
    label_prior: str
    clip_norm: float | None = None
    copies: bool = False
    stacked: bool = True
    precision: Precision = SINGLE_PRECISION
    defences: DefenceChain = field(default_factory=DefenceChain)
    ask: Callable[[Tensor, tuple[int, ...]], Answer] | None = None
    head: nn.Module | None = None
    cuts: ClientCuts | None = None

    def stack(self, device: torch.device) -> Stack:
        """Return the segment as a stack of one row."""
        return self._stack(lambda _: self.segment, 1, device, stacked=False)

    def stack_of_copies(self, device: torch.device) -> Stack:
        """Return a copy of the segment for every client, as a stack of as many rows."""
        return self._stack(lambda _: copy.deepcopy(self.segment), self.clients, device, stacked=self.stacked)

    def _stack(self, segment: Callable[[int], nn.Module], rows: int, device: torch.device, *, stacked: bool) -> Stack:
        return Stack(
            segment,
            rows,
            self.optimizer,
            clip_norm=self.clip_norm,
            stacked=stacked,
            device=device,
            precision=self.precision,
        )
