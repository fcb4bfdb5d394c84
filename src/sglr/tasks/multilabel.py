"""Several findings in each sample, each present or absent: one logit for each, and the mean of their AUROC."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from sglr.core.task import Sums, Targets, refuse_targets
from sglr.metrics.curves import auroc, average_precision, confusion_at, place_of, roc_points, thresholds_with
from sglr.metrics.findings import Findings
from sglr.metrics.reliability import calibration_error, reliability_curve

if TYPE_CHECKING:
    from torchmetrics import Metric

__all__ = ["Multilabel"]

MOST_CURVES = 20
"""Findings whose ROC curves the summary holds, at most."""


@dataclass(frozen=True)
class Multilabel(Findings):
    """L findings in each sample, each present (1), absent (0) or not known (-1): one logit for each.

    What is not known counts neither in the loss nor in scores. AUROC, average precision, F1 and recall are means over
    the findings that a client's samples can tell: both classes occur, or the finding does. A finding is called present
    from a probability of 0.5 on.

    Raises
    ------
    UsageError
        If a parameter is out of range.
    """

    headline: ClassVar[str] = "auroc"
    label_kind = "findings"
    usual: ClassVar[tuple[str, ...]] = (
        "auroc",
        "average_precision",
        "f1",
        "recall",
        "accuracy",
        "exact_match",
        "brier",
        "calibration_error",
    )

    def check(self, targets: Targets) -> None:
        """Refuse targets that are not one row of findings for each sample, and what does not fit them."""
        if targets.classes != 2 or len(targets.shape) != 1:
            other = "classification" if targets.are_classes else "segmentation" if targets.classes else "regression"
            problem = "each sample needs a row of findings that are 0 or 1"
            raise refuse_targets("multilabel", targets, problem, f"use --task {other}")
        self.check_weights(targets)

    def outputs(self, targets: Targets) -> int:
        """Return L, the number of findings."""
        return targets.shape[0]

    def predictions(self, outputs: Tensor, targets: Targets) -> dict[str, Tensor | list[str]]:
        """Return each finding's probability, and whether it is called present: from 0.5 on."""
        names = targets.names or tuple(str(place + 1) for place in range(outputs.shape[1]))
        present = {name: (outputs[:, place] >= 0).long() for place, name in enumerate(names)}
        return {
            **present,
            **{f"probability_{name}": outputs[:, place].sigmoid() for place, name in enumerate(names)},
        }

    def hits(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the share of each sample's known findings that are called right, ``[N]``; 0 if none is known."""
        known = targets >= 0
        right = ((outputs >= 0) == (targets == 1)) & known
        return right.sum(1) / known.sum(1).clamp(min=1)

    def sums(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Return the sums of `Findings` for logits ``[n, m, L]`` and targets ``[m, L]``, and samples wholly right."""
        right = (((outputs >= 0) == (targets == 1)) | (targets < 0)).all(2)
        return {
            **self.finding_sums(outputs, targets, thresholds_with()),
            "exact": right.sum(1),
            "samples": torch.full_like(right.sum(1), len(targets)),
            **self.further_sums(outputs.shape[2], outputs.sigmoid, targets.long()),
        }

    def scores(self, sums: Sums) -> dict[str, Tensor]:
        """Return every client's scores ``[n]``; NaN where its samples can tell none of the findings."""
        curve = sums["curve"]
        (right_no, wrong), (missed, right) = _confusion(curve).double().permute(2, 3, 0, 1)
        answers = curve.sum((1, 2, 3))
        return {
            "auroc": auroc(curve).nanmean(1),
            "average_precision": average_precision(curve).nanmean(1),
            "f1": (2 * right / (2 * right + wrong + missed)).nanmean(1),
            "recall": (right / (right + missed)).nanmean(1),
            "accuracy": (right + right_no).sum(1) / answers,
            "exact_match": sums["exact"] / sums["samples"].double(),
            "brier": sums["squared"] / answers,
            "calibration_error": calibration_error(sums["reliability"]),
            **self.further_scores(curve.shape[1], sums),
        }

    def figures(self, sums: Sums, targets: Targets) -> dict[str, Any]:
        """Return the scores and ROC curves of every finding, and the reliability curve, of all clients together."""
        curves = sums["curve"].sum(0)
        names = targets.names or tuple(str(place + 1) for place in range(len(curves)))
        each = zip(names, auroc(curves).tolist(), average_precision(curves).tolist(), _present(sums), strict=True)
        rocs = [(name, roc_points(curve)) for name, curve in zip(names, curves, strict=True)]
        return {
            "per_label": [
                {"name": name, "auroc": _told(area), "average_precision": _told(mean), "support": support}
                for name, area, mean, support in each
            ],
            "roc": [{**roc, "name": name} for name, roc in rocs if roc is not None][:MOST_CURVES],
            "reliability": reliability_curve(sums["reliability"].sum(0)),
        }

    def known_metrics(self, outputs: int) -> Mapping[str, Callable[[], Metric]]:
        """Return how findings are ranked within a sample, and further means over findings."""
        from torchmetrics import classification

        kinds: dict[str, Any] = {
            "ranking_loss": classification.MultilabelRankingLoss,
            "ranking_precision": classification.MultilabelRankingAveragePrecision,
            "jaccard": classification.MultilabelJaccardIndex,
            "precision": classification.MultilabelPrecision,
            "specificity": classification.MultilabelSpecificity,
        }
        return {name: partial(kind, outputs, ignore_index=-1) for name, kind in kinds.items()}

    def metric_arguments(self, outputs: int) -> dict[str, Any]:
        """Return what metrics of torchmetrics take: the kind of task, L, and the number for what is not known."""
        return {"task": "multilabel", "num_labels": outputs, "ignore_index": -1}


def _confusion(curve: Tensor) -> Tensor:
    return confusion_at(curve, place_of(0.5, thresholds_with()))


def _present(sums: Sums) -> list[int]:
    """Return how many samples have each finding: every client is scored on the same ones."""
    found: list[int] = sums["curve"][0, :, 1].sum(1).tolist()
    return found


def _told(score: float) -> float | None:
    return score if score == score else None
