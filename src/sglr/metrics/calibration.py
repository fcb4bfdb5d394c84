"""Expected calibration error as a metric of torchmetrics that is made of sums; torchmetrics' own keeps every sample."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric

from sglr.metrics.reliability import BINS, calibration_error, count_reliability


class CalibrationError(Metric):
    """How far the confidence in the likeliest class is from how often it is right (Guo et al., arXiv 1706.04599).

    Takes probabilities ``[m, K]`` and class numbers ``[m]``.
    """

    full_state_update = False
    bins: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("bins", torch.zeros(3, BINS, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add samples to their bins."""
        confidence, predicted = preds.max(1)
        self.bins = self.bins + count_reliability(confidence[None, :, None], (predicted == target)[:, None])[0]

    def compute(self) -> Tensor:
        """Return the error, a number."""
        return calibration_error(self.bins)
