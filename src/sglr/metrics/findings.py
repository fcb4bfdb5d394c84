"""Findings that are present or absent: what the tasks of one and of several have in common."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional as F

from sglr.core.data import ClientData
from sglr.core.errors import UsageError
from sglr.core.task import Targets
from sglr.metrics.curves import count_logits
from sglr.metrics.reliability import count_reliability
from sglr.metrics.with_metrics import WithMetrics


@dataclass(frozen=True)
class Findings(WithMetrics):
    """L findings in each sample, each present (1), absent (0) or not known (-1); one logit for each.

    Raises
    ------
    UsageError
        If a parameter is out of range.
    """

    loss: str = field(
        default="cross_entropy",
        metadata={
            "help": "training loss: cross_entropy, or focal:GAMMA, which weighs samples that are right already less",
            "basic": True,
            "clients": "take",
            "build": False,
        },
    )
    positive_weight: tuple[str, ...] = field(
        default=(),
        metadata={
            "help": "weight of positive samples in the loss, such as 5 (several findings: 5,1,9); or balanced",
            "clients": "take",
            "since": "0.2.0",
        },
    )

    def __post_init__(self) -> None:
        """Refuse a loss that there isn't, and weights that are no positive numbers."""
        name, colon, _ = self.loss.partition(":")
        if name not in ("cross_entropy", "focal") or (colon and name == "cross_entropy"):
            raise UsageError("loss", self.loss, "no such loss of findings", "give cross_entropy, or focal:2")
        if not 0 <= self._gamma < math.inf:
            raise UsageError("loss", self.loss, "GAMMA is no number of 0 or more", "give such as focal:2")
        if not self._balanced and not all(0 < weight < math.inf for weight in self._weights):
            shown = ",".join(self.positive_weight)
            raise UsageError("positive_weight", shown, "is not made of numbers above 0", "give such as 5, or balanced")

    @property
    def _gamma(self) -> float:
        """The exponent of the focal loss; 0 makes it cross-entropy."""
        name, _, given = self.loss.partition(":")
        return _number(given or "2") if name == "focal" else 0.0

    @property
    def _balanced(self) -> bool:
        return self.positive_weight == ("balanced",)

    @property
    def _weights(self) -> tuple[float, ...]:
        return tuple(map(_number, self.positive_weight))

    def check_weights(self, targets: Targets) -> None:
        """Refuse weights of another number of findings."""
        findings = self.outputs(targets)
        if not self._balanced and len(self.positive_weight) not in (0, 1, findings):
            shown, problem = ",".join(self.positive_weight), f"each sample has {findings} of them"
            raise UsageError("positive_weight", shown, problem, "give one weight, or one for each, in their order")

    def fitted(self, data: ClientData) -> Self:
        """Return the task with balanced weights as numbers: negative samples by positive ones, of each finding.

        Raises
        ------
        UsageError
            If they are asked for and the data are at other sites.
        """
        if not self._balanced:
            return self
        if not len(data.train):
            problem = "the server does not know how many samples of sites are positive"
            raise UsageError("positive_weight", "balanced", problem, "give a number")
        owned = by_finding(data.train.targets[torch.cat(data.indices)])
        weights = (owned == 0).sum(0) / (owned == 1).sum(0).clamp(min=1)
        return replace(self, positive_weight=tuple(f"{weight:.6g}" for weight in weights.clamp(min=1e-3).tolist()))

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of every sample ``[N]``: the mean over its findings that are known.

        With p the probability given to what is true of a finding and w the weight of positive ones:
        -w (1 - p)^γ log p (Lin et al., arXiv 1708.02002); γ = 0 is binary cross-entropy. A sample of which nothing is
        known has loss 0.

        Parameters
        ----------
        outputs
            Logits ``[N, L]``.
        targets
            ``[N, L]`` of 1, 0 or -1 (not known), or ``[N]``.
        """
        truth = by_finding(targets)
        weights = outputs.new_tensor(self._weights) if self._weights else None
        return _mean_over_known(_cross_entropy(outputs, truth, self._gamma, weights), truth)

    def test_losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the plain cross-entropy of every sample ``[N]``, so that runs with other losses can be compared."""
        truth = by_finding(targets)
        return _mean_over_known(_cross_entropy(outputs, truth), truth)

    def finding_sums(self, outputs: Tensor, targets: Tensor, thresholds: tuple[float, ...]) -> dict[str, Tensor]:
        """Return the sums of logits ``[n, m, L]`` and targets ``[m, L]`` or ``[m]``, besides those of further metrics.

        ``curve`` are those of `count_logits`, ``reliability`` those of `count_reliability`, over findings, and
        ``squared`` the squared errors of probabilities ``[n]``, over findings.
        """
        truth, chances = by_finding(targets), outputs.double().sigmoid()
        return {
            "curve": count_logits(outputs, truth, thresholds),
            "reliability": count_reliability(chances, truth),
            "squared": ((chances - truth).square() * (truth >= 0)).sum((1, 2)),
        }


def by_finding(targets: Tensor) -> Tensor:
    """Return targets ``[N, L]``, of one finding for each sample where they are ``[N]``."""
    return targets.long().reshape(len(targets), -1)


def _cross_entropy(logits: Tensor, truth: Tensor, gamma: float = 0.0, weights: Tensor | None = None) -> Tensor:
    own = torch.where(truth == 1, logits, -logits)
    found = F.softplus(-own)
    if gamma:
        found = found * own.neg().sigmoid() ** gamma
    return found if weights is None else found * torch.where(truth == 1, weights, 1.0)


def _mean_over_known(values: Tensor, truth: Tensor) -> Tensor:
    known = truth >= 0
    return (values * known).sum(1) / known.sum(1).clamp(min=1)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
