"""What a client holds in memory while it trains its segment."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from sglr.core.weights import state_of
from sglr.splitting.segment_weights import frozen_of

COPIES = 4
"""A trained weight, its gradient, and the two means of Adam, the default optimizer."""


@dataclass(frozen=True)
class ClientMemory:
    """Bytes that a client holds.

    Parameters
    ----------
    trained
        Of trained weights.
    fixed
        Of frozen weights and buffers.
    passed
        Of what a forward pass of one sample keeps until its gradient is there.
    """

    trained: int
    fixed: int
    passed: float

    def bytes(self, batch: int) -> float:
        """Return the bytes of a step with so many samples: weights, gradients, Adam's means, and what passes keep."""
        return COPIES * self.trained + self.fixed + batch * self.passed


def client_memory(segment: nn.Module, example: Tensor) -> ClientMemory:
    """Return what a client holds of its segment, by a pass with inputs ``[b, ...]``.

    What the runtime and its libraries take beside that is not counted.
    """
    trained = sum(_bytes(weight) for weight in segment.parameters() if weight.requires_grad)
    whole = sum(_bytes(tensor) for tensor in (*state_of(segment).values(), *frozen_of(segment).values()))
    return ClientMemory(trained, whole - trained, _passed(segment, example) / len(example))


def _passed(segment: nn.Module, example: Tensor) -> int:
    """Return the bytes that a forward pass keeps for the way back, each tensor once, weights left out."""
    trial, kept = copy.deepcopy(segment).train(), dict[int, Tensor]()

    def keep(tensor: Tensor) -> Tensor:
        kept.setdefault(tensor.untyped_storage().data_ptr(), tensor)
        return tensor

    with torch.random.fork_rng([]), torch.enable_grad(), saved_tensors_hooks(keep, lambda tensor: tensor):
        keep(trial(example))  # which is sent
    own = {tensor.untyped_storage().data_ptr() for tensor in (*trial.parameters(), *trial.buffers())}
    return sum(tensor.untyped_storage().nbytes() for place, tensor in kept.items() if place not in own)


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
