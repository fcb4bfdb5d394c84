"""Losses that the server can train with, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

LARGEST_SHARE = 1 - 1e-7
"""The largest softmax output whose complement still has a logarithm in float32."""


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the cross-entropy of every sample ``[N]``, from logits ``[N, K]`` and class numbers ``[N]``."""
    return F.cross_entropy(logits, labels, reduction="none")


def binary_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the binary cross-entropy of the softmax of every sample ``[N]``, averaged over the K classes.

    The loss of the authors' code: every class's probability is held against 1 or 0, so that a sample which is already
    right by a wide margin still pays for what is left to the other classes.
    """
    # By hand: torch's own raises on what is not a number, while training stops with a report of where it diverged.
    wanted = F.one_hot(labels, logits.shape[1]).bool()
    chosen = logits.log_softmax(1)
    others = torch.log1p(-logits.softmax(1).clamp(max=LARGEST_SHARE))
    return -torch.where(wanted, chosen, others).mean(1)


LOSSES: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cross_entropy": cross_entropy,
    "binary_cross_entropy": binary_cross_entropy,
}
"""Losses by name: (logits ``[N, K]``, labels ``[N]``) to one value per sample ``[N]``."""
