"""How well a score separates two kinds of samples at every threshold: the ROC curve."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sglr.privacy.measures.estimate import NORMAL, Estimate, share_estimate


def auc_estimate(positive: Tensor, negative: Tensor, estimator: str) -> Estimate:
    """Estimate how often a positive sample's score is larger than a negative one's; ties count half.

    0.5 is a guess. The interval is that of Hanley and McNeil (Radiology, 1982).

    Parameters
    ----------
    positive, negative
        Scores ``[m]`` and ``[n]``.
    estimator
        What the area under the curve is of.
    """
    below = negative.sort().values
    smaller = torch.searchsorted(below, positive, side="left") + torch.searchsorted(below, positive, side="right")
    m, n = len(positive), len(negative)
    auc = float(smaller.double().mean()) / (2 * n)
    ranked, squared = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    variance = (auc * (1 - auc) + (m - 1) * (ranked - auc**2) + (n - 1) * (squared - auc**2)) / (m * n)
    half = NORMAL * math.sqrt(max(variance, 0.0))
    name = f"area under the ROC curve of {estimator}, Hanley and McNeil's interval"
    return Estimate(auc, max(0.0, auc - half), min(1.0, auc + half), name, "1", m + n)


def true_positives_at(false_positives: float, positive: Tensor, negative: Tensor, estimator: str) -> Estimate:
    """Estimate the share of positive samples above a threshold that at most so many negative ones exceed.

    Parameters
    ----------
    false_positives
        The share of negative samples that may exceed it, in [0, 1).
    positive, negative
        Scores ``[m]`` and ``[n]``.
    estimator
        What the share is of.
    """
    allowed = int(false_positives * len(negative))
    threshold = negative.sort(descending=True).values[allowed]
    return share_estimate(int((positive > threshold).sum()), len(positive), estimator)
