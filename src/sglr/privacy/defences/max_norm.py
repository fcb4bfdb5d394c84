"""Gradients of one expected norm: noise hides which samples have large gradients, and so rare labels.

The heuristic *max_norm* of Li, Sun, Yin, Agarwal, Shamir, Smith, Yang, Hu: *Label Leakage and Protection in Two-party
Split Learning* (arXiv 2102.08504, section 4.1). A gradient g gets noise along itself alone: g + σ ξ g, where
σ = sqrt(M² / ‖g‖² - 1), ξ is one standard normal draw per sample, and M is the largest norm in the batch: then the
expected squared norm of every gradient is M². It needs nothing but the gradients, and no label.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sglr.core.defence import Defence

__all__ = ["MaxNorm"]


@dataclass(frozen=True)
class MaxNorm(Defence):
    """Scale each gradient at random, so that its expected squared norm is the batch's largest."""

    def privatize_gradient(self, gradients: Tensor, labels: Tensor, rng: torch.Generator) -> Tensor:
        """Return gradients ``[b, ...]`` of one expected squared norm; those that are zero stay zero."""
        del labels
        norms = torch.linalg.vector_norm(gradients.flatten(1), dim=1)
        drawn = torch.randn(len(gradients), generator=rng, dtype=torch.float32).to(norms)
        ratio = torch.where(norms > 0, norms.max() / norms.clamp(min=torch.finfo(norms.dtype).tiny), 1)
        # A gradient that is all but zero would be multiplied beyond what a number can hold.
        factor = 1 + drawn * (ratio.square() - 1).clamp(min=0, max=1e12).sqrt()
        return gradients * factor.reshape(-1, *(1,) * (gradients.dim() - 1))
