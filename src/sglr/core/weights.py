"""Tensors by name: the weights of segments, their means over clients, and their way to a device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain

import torch
from torch import Tensor, nn

Weights = Mapping[str, Tensor]
"""Named weights and buffers of a segment; of several clients when every tensor has a leading axis C."""


HEAD = "head."
"""What names of a head's weights begin with, among those of a client."""


def without_head(weights: Weights) -> Weights:
    """Return a client's weights but for those of its head, or decoder."""
    return {name: tensor for name, tensor in weights.items() if not name.startswith(HEAD)}


def below(prefix: str, tensors: Weights) -> dict[str, Tensor]:
    """Return the tensors whose names begin with ``prefix``, named without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def trained_of(module: nn.Module) -> dict[str, nn.Parameter]:
    """Return the weights of a module that are trained, by name."""
    return {name: tensor for name, tensor in module.named_parameters() if tensor.requires_grad}


def state_of(module: nn.Module) -> dict[str, Tensor]:
    """Return what training may change of a module, by name: trained weights, and all buffers."""
    return {name: tensor.detach() for name, tensor in chain(trained_of(module).items(), module.named_buffers())}


def data_shares(sizes: list[int]) -> Tensor:
    """Return δ_i = |D_i| / |D| over those present, ``[n]``."""
    weights = torch.tensor(sizes, dtype=torch.float64)
    return weights / weights.sum()


def weighted_mean(weights: Weights, shares: Tensor) -> dict[str, Tensor]:
    """Average ``[n, ...]`` weights over n with shares ``[n]`` that sum to one (FedAvg, eq. 8; buffers too).

    Integer buffers, as BatchNorm's count of batches, take the rounded mean.
    """
    means = {}
    for name, tensor in weights.items():
        wide = tensor.to(torch.float64) if not tensor.is_floating_point() else tensor
        mean = torch.tensordot(shares.to(wide), wide, dims=1)
        means[name] = mean if tensor.is_floating_point() else mean.round().to(tensor.dtype)
    return means


def mixed(own: Weights, others: Weights, share: float) -> dict[str, Tensor]:
    """Return share · own + (1 − share) · others, of the tensors of ``own`` that ``others`` have, rounded if integer.

    Where both are equal, so is the result, to the last bit.
    """
    found = {}
    for name, tensor in own.items():
        if name in others:
            wide = tensor if tensor.is_floating_point() else tensor.double()
            mix = torch.lerp(wide, others[name].to(wide).expand_as(wide), 1 - share)
            found[name] = mix if tensor.is_floating_point() else mix.round().to(tensor.dtype)
    return found


def to_device(values: Tensor | Sequence[float] | Sequence[int], device: torch.device) -> Tensor:
    """Return values of the host on a device, without the host waiting for the device.

    A copy from ordinary memory to a GPU waits until the GPU has done all that was asked before. From page-locked memory
    it is one more thing that the GPU does in its turn.
    """
    tensor = values if isinstance(values, Tensor) else torch.tensor(values)
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)
