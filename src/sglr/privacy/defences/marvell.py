r"""Noise on gradients along the differences of classes: the best protection against label inference for its power.

After *Marvell* (Li, Sun, Yin, Agarwal, Shamir, Smith, Yang, Hu: Label Leakage and Protection in Two-party Split
Learning, arXiv 2102.08504), for any number of classes. Marvell models the gradients of each of two classes as a
normal distribution, and chooses noise of limited power that makes the two as hard to tell apart as it can (sum of both
KL divergences). Here classes have means ḡ_c, shares p_c and one common spread u per dimension, and the noise is the
same for all. With the scatter of the means S = Σ p_c (ḡ_c - ḡ)(ḡ_c - ḡ)ᵀ, the weighted sum of divergences from the
mean is tr(S (uI + Σ)⁻¹) / 2, which noise of covariance Σ and power tr Σ = P makes smallest if it has the directions of
S, and in each, where S has s_k, the variance

    σ_k = max(0, √(s_k / ν) - u),   ν such that Σ σ_k = P.

P is ``power`` times the mean squared distance between the means of two samples of different classes. For two classes
there is one direction, their difference, and P is ``power`` ‖ḡ_1 - ḡ_0‖²: Marvell's own measure and, where both classes
are equally frequent and spread equally, its own solution. Unlike Marvell it does not hide that one class is more spread
than another, as is the case where one is rare: `max_norm` goes against that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sglr.core.defence import Defence, option
from sglr.core.task import Serves

__all__ = ["Marvell"]


@dataclass(frozen=True)
class Marvell(Defence):
    """Add noise along the differences of class means."""

    serves: ClassVar[Serves] = Serves.CLASSES

    power: float = option(4.0, "power of the noise beside the squared distance of two class means", least=0)

    def privatize_gradient(self, gradients: Tensor, labels: Tensor, rng: torch.Generator) -> Tensor:
        """Return gradients ``[b, ...]`` with noise; as they are if the batch has one class only."""
        drawn = torch.randn(gradients.shape, generator=rng, dtype=torch.float32)
        flat = gradients.detach().flatten(1).double()
        scatter, spread, apart = _classes(flat, labels)
        _, sizes, directions = torch.linalg.svd(scatter, full_matrices=False)
        variances = water_filled(sizes.square(), spread, self.power * apart)
        # The root of the covariance depends on no choice of directions, of which rounding could make another.
        noise: Tensor = (drawn.to(flat.device).flatten(1).double() @ directions.T * variances.sqrt()) @ directions
        sent: Tensor = gradients + noise.to(gradients.dtype).reshape(gradients.shape)
        return sent


def _classes(flat: Tensor, labels: Tensor) -> tuple[Tensor, float, float]:
    """Return what S is the square of, ``[K, d]``; u; and the mean squared distance of two classes' means."""
    _, of_class, counts = torch.unique(labels, return_inverse=True, return_counts=True)
    shares = counts.to(flat) / len(flat)
    sums = flat.new_zeros(len(counts), flat.shape[1]).index_add_(0, of_class, flat)
    means = sums / counts[:, None]
    spread = float((flat - means[of_class]).square().mean())
    scatter = shares.sqrt()[:, None] * (means - flat.mean(0))
    different = 1 - float(shares.square().sum())
    return scatter, spread, 2 * float(scatter.square().sum()) / different if len(counts) > 1 else 0.0


def water_filled(sizes: Tensor, spread: float, power: float) -> Tensor:
    """Return the variances ``[r]``, summing to ``power``, that make Σ s_k / (u + σ_k) smallest.

    Parameters
    ----------
    sizes
        s_k in each direction, descending ``[r]``.
    spread
        u.
    power
        Their sum.
    """
    if power <= 0:
        return torch.zeros_like(sizes)
    roots = sizes.sqrt()
    for active in range(len(roots), 0, -1):
        total = float(roots[:active].sum())
        level = (power + active * spread) / total if total > 0 else 0.0
        found = roots[:active] * level - spread
        if float(found[-1]) >= 0:
            return torch.cat([found, torch.zeros_like(roots[active:])])
    return torch.zeros_like(sizes)
