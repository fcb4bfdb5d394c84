"""Make a frozen model constant: no statistics and no buffers that every client would hold, send and average."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Self

import torch
from torch import Tensor, nn


class _InEvaluation(nn.Module):
    """A layer that stays in evaluation mode: its running statistics belong to a frozen model."""

    def train(self, mode: bool = True) -> Self:
        """Leave the mode as it is."""
        del mode
        self.training = False
        return self


class FrozenBatchNorm1d(_InEvaluation, nn.BatchNorm1d):
    """``nn.BatchNorm1d`` that normalises by running statistics, in training too."""


class FrozenBatchNorm2d(_InEvaluation, nn.BatchNorm2d):
    """``nn.BatchNorm2d`` that normalises by running statistics, in training too."""


class FrozenBatchNorm3d(_InEvaluation, nn.BatchNorm3d):
    """``nn.BatchNorm3d`` that normalises by running statistics, in training too."""


_FROZEN: dict[type[nn.Module], type[nn.Module]] = {
    nn.BatchNorm1d: FrozenBatchNorm1d,
    nn.BatchNorm2d: FrozenBatchNorm2d,
    nn.BatchNorm3d: FrozenBatchNorm3d,
}


def freeze_statistics(modules: Collection[nn.Module]) -> None:
    """Let batch normalisations among these modules use their running statistics from now on."""
    for module in modules:
        if type(module) in _FROZEN and module.track_running_stats:
            module.__class__ = _FROZEN[type(module)]
            module.train(False)


def constant_buffers(model: nn.Module, example: Tensor) -> list[str]:
    """Return the names of the buffers that a pass of ``example`` ``[b, ...]`` in training mode leaves as they are.

    The model is changed: pass a copy.
    """
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    with torch.no_grad(), torch.random.fork_rng([]):
        model.train()(example)
    after = dict(model.named_buffers())
    return [name for name, buffer in before.items() if name in after and _same(buffer, after[name])]


def freeze_buffers(model: nn.Module, names: Iterable[str]) -> None:
    """Turn buffers into frozen weights: these are there once, whatever their type; buffers are of every client."""
    frozen: dict[int, nn.Parameter] = {}
    for name in names:
        holder, _, own = name.rpartition(".")
        module = model.get_submodule(holder)
        buffer = module._buffers.pop(own)
        assert buffer is not None
        module._non_persistent_buffers_set.discard(own)
        module.register_parameter(own, frozen.setdefault(id(buffer), nn.Parameter(buffer, requires_grad=False)))


def _same(first: Tensor, second: Tensor) -> bool:
    return first.shape == second.shape and torch.equal(first, second)
