"""Smashed data of bounded norm: every sample's is scaled down to a largest norm, as a layer with exact gradients.

A bound is what noise needs for a privacy statement (`sglr.privacy.accounting`): without one a single sample can be
arbitrarily far from all others.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sglr.core.defence import Defence, option

__all__ = ["Clip"]


@dataclass(frozen=True)
class Clip(Defence):
    """Scale every sample's smashed data z to z / max(1, ‖z‖ / norm)."""

    norm: float = option(10.0, "the largest Euclidean norm of one sample's smashed data", above=0)

    def layer(self) -> nn.Module:
        """Return the layer that scales."""
        return _Bounded(self.norm)


class _Bounded(nn.Module):
    def __init__(self, norm: float) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, smashed: Tensor) -> Tensor:
        norms = torch.linalg.vector_norm(smashed.flatten(1), dim=1)
        scale = (norms / self.norm).clamp(min=1)
        sent: Tensor = smashed / scale.reshape(-1, *(1,) * (smashed.dim() - 1))
        return sent

    def extra_repr(self) -> str:
        return f"norm={self.norm}"
