"""The engine protocol: where clients live. An engine moves tensors and does no learning of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from sglr.core.data import ClientData, Samples
from sglr.core.optim import OptimizerSpec
from sglr.core.types import Uplink, Weights


@dataclass(frozen=True)
class Setting:
    """What every engine needs to put clients to work.

    Parameters
    ----------
    segment
        Gives a client's lower segment with its first weights, by client id.
    data
        The data, divided among clients.
    batch_size
        b, the samples that a client uses in one step.
    optimizer
        Every client's optimizer.
    clip_norm
        Largest norm of a client's gradient, or None.
    seed
        Seed of all random draws.
    device
        Where computation happens.
    stacking
        ``"auto"``, ``"stacked"`` or ``"looped"``, for engines that hold many clients in one process.
    """

    segment: Callable[[int], nn.Module]
    data: ClientData
    batch_size: int
    optimizer: OptimizerSpec
    clip_norm: float | None
    seed: int
    device: torch.device
    stacking: str = "auto"


@dataclass(frozen=True)
class Scores:
    """How well client segments do with the server segment on one set of samples.

    Parameters
    ----------
    accuracy
        Share of samples classified right with each client's segment, ``[n]`` in [0, 1].
    loss
        Mean cross-entropy with each client's segment, ``[n]``.
    """

    accuracy: Tensor
    loss: Tensor

    @property
    def mean_accuracy(self) -> float:
        """Accuracy averaged over clients, as the paper reports it."""
        return float(self.accuracy.mean())

    @property
    def accuracy_std(self) -> float:
        """Standard deviation of the accuracy over clients (0 for one)."""
        return float(self.accuracy.std(correction=0))

    @property
    def mean_loss(self) -> float:
        """Loss averaged over clients."""
        return float(self.loss.mean())


class Engine(Protocol):
    """Where clients live, and how their tensors reach the server."""

    def begin(self, cohort: tuple[int, ...], epoch: int) -> int:
        """Prepare a cohort's pass over its data in an epoch; return its number of steps."""
        ...

    def forward(self, step: int) -> Uplink:
        """Let the clients that have a batch in this step run forward; return what they send."""
        ...

    def backward(self, cut_gradients: Tensor, rate: float) -> None:
        """Let the clients of the last `forward` back-propagate ``[C, b, ...]`` and step at ``rate``."""
        ...

    def collect(self, clients: tuple[int, ...]) -> Weights:
        """Return the weights and buffers of ``clients``, each ``[n, ...]``."""
        ...

    def publish(self, weights: Weights, clients: tuple[int, ...]) -> None:
        """Set the weights and buffers ``[...]`` of ``clients``; optimizer state stays."""
        ...

    def evaluate(self, server: nn.Module, samples: Samples, clients: tuple[int, ...]) -> Scores:
        """Score the segments of ``clients`` with the server's on the same samples."""
        ...

    def state(self) -> dict[str, Tensor]:
        """Return everything that a checkpoint of the clients needs."""
        ...

    def restore(self, tensors: Weights) -> None:
        """Take up what `state` returned."""
        ...
