"""Residuals of measurements in bins: pairs of true and predicted value for a plot, and quantiles of errors.

All values are in standard units, with the mean 0 and the standard deviation 1.
"""

from __future__ import annotations

import torch
from torch import Tensor

EDGE = 3.5
"""Standard deviations from the mean up to which the residual plot goes; its outer bins hold what lies beyond."""
BINS = 24
"""Bins of the residual plot along each axis."""
FINE = 280
"""Bins of residuals, for their quantiles: 0.025 standard deviations each."""
SHOWN = (0.05, 0.25, 0.5, 0.75, 0.95)
"""The quantiles of residuals that the summary tells."""


def plot_edges(mean: float, scale: float) -> list[float]:
    """Return the 25 edges of the plot's bins in the data's units."""
    return [mean + scale * EDGE * (2 * bound / BINS - 1) for bound in range(BINS + 1)]


def count_pairs(predicted: Tensor, wanted: Tensor) -> Tensor:
    """Return samples by bins of true and predicted value, ``[T, 24, 24]``, of values ``[n, m, T]`` each."""
    return _counted(_binned(wanted, BINS) * BINS + _binned(predicted, BINS), BINS**2).view(-1, BINS, BINS)


def count_residuals(errors: Tensor) -> Tensor:
    """Return samples by bins of errors, ``[T, 280]``, of errors ``[n, m, T]``."""
    return _counted(_binned(errors, FINE), FINE)


def residual_quantile(counts: Tensor, share: float) -> float:
    """Return a quantile of what `count_residuals` counted of one target ``[280]``, by linear interpolation in a bin."""
    until = counts.double().cumsum(0)
    wanted = share * float(until[-1])
    place = min(int((until < wanted).sum()), FINE - 1)
    before = float(until[place - 1]) if place else 0.0
    within = (wanted - before) / max(float(counts[place]), 1.0)
    return 2 * EDGE * (place + within) / FINE - EDGE


def _binned(values: Tensor, bins: int) -> Tensor:
    """Return the bin of every value, of equal bins between -EDGE and EDGE whose outer ones are open."""
    places = (values.nan_to_num() + EDGE) * (bins / (2 * EDGE))
    return places.floor().clamp(0, bins - 1).long()


def _counted(bins: Tensor, most: int) -> Tensor:
    """Return how often each bin occurs over all n clients and m samples, ``[T, most]``, by bins ``[n, m, T]``."""
    flat = bins.flatten(0, 1).T
    return torch.zeros(len(flat), most, dtype=torch.int64, device=bins.device).scatter_add_(
        1, flat, torch.ones_like(flat)
    )
