"""Whether predicted probabilities come true: bins of them, the expected calibration error and the reliability curve."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

BINS = 15


def count_reliability(chances: Tensor, truth: Tensor) -> Tensor:
    """Add up samples, positive ones and probabilities in bins of equal width.

    Parameters
    ----------
    chances
        Probabilities ``[n, m, L]`` of n clients' predictions.
    truth
        ``[m, L]``: 1 for positive, 0 for negative, -1 for not known, which is not counted.

    Returns
    -------
    Tensor
        float64 ``[n, 3, 15]``: samples, positive samples, sum of probabilities.
    """
    places = (chances * BINS).long().clamp(0, BINS - 1).flatten(1)
    known = (truth >= 0).double().expand_as(chances)
    values = torch.stack([known, known * truth, known * chances], 1).flatten(2)
    found = torch.zeros(len(chances), 3, BINS, dtype=torch.float64, device=chances.device)
    return found.scatter_add_(2, places[:, None].expand_as(values), values)


def calibration_error(sums: Tensor) -> Tensor:
    """Return the expected calibration error (Naeini et al., 2015) of bins ``[..., 3, B]``, ``[...]``; NaN if empty.

    The mean over samples of the distance, in their bin, between the share of positives and the mean probability.
    """
    samples, positive, chances = sums.unbind(-2)
    return (positive - chances).abs().sum(-1) / samples.sum(-1)


def reliability_curve(sums: Tensor) -> dict[str, list[Any]]:
    """Return the bins ``[3, B]`` as reports draw them."""
    samples, positive, chances = sums.tolist()
    return {
        "confidence": [chance / count if count else None for chance, count in zip(chances, samples, strict=True)],
        "frequency": [seen / count if count else None for seen, count in zip(positive, samples, strict=True)],
        "count": [int(count) for count in samples],
    }
