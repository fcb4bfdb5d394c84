"""Yes or no: one logit per sample, AUROC, and a threshold that is chosen on the validation samples."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from torch import Tensor

from sglr.core.errors import UsageError
from sglr.core.task import Sums, Targets, refuse_targets
from sglr.metrics.curves import (
    auroc,
    average_precision,
    best_threshold,
    confusion_at,
    place_of,
    roc_points,
    threshold_of,
    thresholds_with,
)
from sglr.metrics.findings import Findings
from sglr.metrics.reliability import calibration_error, reliability_curve

if TYPE_CHECKING:
    from torchmetrics import Metric

__all__ = ["Binary"]

AT_THRESHOLD = ("kappa", "matthews", "jaccard")
"""Further metrics that are told by the confusion, and so at a threshold that is chosen after samples were counted."""


@dataclass(frozen=True)
class Binary(Findings):
    """Samples of two classes, the second being positive: one logit per sample.

    The headline is AUROC, which needs no threshold and does not mind how rare positive samples are. Scores at a
    threshold are those of ``threshold``; without it, of the one that is best on the validation samples of all clients,
    or of 0.5 where there are none.

    Raises
    ------
    UsageError
        If a parameter is out of range.
    """

    threshold: float | None = field(
        default=None,
        metadata={
            "help": "probability from which a sample is called positive; none: the best on the validation samples",
            "clients": "take",
            "since": "0.2.0",
        },
    )
    criterion: Literal["youden", "f1"] = field(
        default="youden",
        metadata={
            "help": "what is best of a threshold: youden (recall + specificity) or f1",
            "clients": "take",
            "since": "0.2.0",
        },
    )

    headline: ClassVar[str] = "auroc"
    usual: ClassVar[tuple[str, ...]] = (
        "auroc",
        "average_precision",
        "accuracy",
        "balanced_accuracy",
        "f1",
        "recall",
        "specificity",
        "precision",
        "brier",
        "calibration_error",
    )

    def __post_init__(self) -> None:
        """Refuse a threshold that is no probability, too."""
        super().__post_init__()
        if self.threshold is not None and not 0 < self.threshold < 1:
            problem = "is not a probability between 0 and 1"
            raise UsageError("threshold", self.threshold, problem, "give such as 0.3, or none")

    def check(self, targets: Targets) -> None:
        """Refuse targets that are not numbers of two classes, and what does not fit them."""
        if not targets.are_classes or targets.classes != 2:
            several = targets.classes == 2 and len(targets.shape) == 1
            other = "multilabel" if several else "classification" if targets.are_classes else "regression"
            raise refuse_targets("binary", targets, "each sample needs one of two classes", f"use --task {other}")
        self.check_weights(targets)

    def outputs(self, targets: Targets) -> int:
        """Return 1: the logit of the second class."""
        del targets
        return 1

    def prior_shift(self, log_priors: Tensor) -> Tensor:
        """Return the log odds of the second class."""
        return log_priors[..., 1:] - log_priors[..., :1]

    def predictions(self, outputs: Tensor, targets: Targets) -> dict[str, Tensor | list[str]]:
        """Return the class that each sample is called at the threshold, and the probability of the second class."""
        probability = outputs[:, 0].sigmoid()
        called = (outputs[:, 0] >= threshold_of(self._used)).tolist()
        return {
            "class": [targets.names[int(is_second)] for is_second in called],
            f"probability_{targets.names[1]}": probability,
        }

    def decided(self, test: Mapping[str, Any]) -> Self:
        """Return the task with the threshold that a test's figures tell."""
        threshold = test.get("threshold")
        known = isinstance(threshold, float) and 0 < threshold < 1 and self.threshold is None
        return replace(self, threshold=threshold) if known else self

    def hits(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return which samples are called right at the threshold, ``[N]``."""
        return (outputs[:, 0] >= threshold_of(self._used)) == (targets == 1)

    @property
    def _used(self) -> float:
        return 0.5 if self.threshold is None else self.threshold

    def sums(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Return the sums of `Findings`, of one, for logits ``[n, m, 1]`` and class numbers ``[m]``."""
        own = self.finding_sums(outputs, targets, thresholds_with(self.threshold))
        return own | self.further_sums(1, lambda: outputs[..., 0].sigmoid(), targets.long())

    def scores(self, sums: Sums) -> dict[str, Tensor]:
        """Return every client's scores ``[n]``; NaN where a class is absent that a score is about."""
        curve = sums["curve"][:, 0]
        confusion = self._confusion(curve)
        (right_no, wrong), (missed, right) = confusion.double().permute(1, 2, 0)
        recall, specificity, samples = right / (right + missed), right_no / (right_no + wrong), curve.sum((1, 2))
        return {
            "auroc": auroc(curve),
            "average_precision": average_precision(curve),
            "accuracy": (right + right_no) / samples,
            "balanced_accuracy": (recall + specificity) / 2,
            "f1": 2 * right / (2 * right + wrong + missed),
            "recall": recall,
            "specificity": specificity,
            "precision": right / (right + wrong),
            "brier": sums["squared"] / samples,
            "calibration_error": calibration_error(sums["reliability"]),
            **self.further_scores(1, {**sums, **{f"{name}.confmat": confusion for name in AT_THRESHOLD}}),
        }

    def _confusion(self, curve: Tensor) -> Tensor:
        return confusion_at(curve, place_of(self._used, thresholds_with(self.threshold)))

    def figures(self, sums: Sums, targets: Targets) -> dict[str, Any]:
        """Return the ROC and the reliability curve, the confusion and the threshold, of all clients together."""
        del targets
        curve = sums["curve"].sum((0, 1))
        roc = roc_points(curve)
        found = {
            "reliability": reliability_curve(sums["reliability"].sum(0)),
            "confusion": self._confusion(curve).tolist(),
            "threshold": self._used,
        }
        return found if roc is None else {"roc": roc, **found}

    def calibrated(self, sums: Sums) -> Self:
        """Return the task with the threshold that is best over all clients' validation sums, unless one is given."""
        if self.threshold is not None:
            return self
        return replace(self, threshold=best_threshold(sums["curve"].sum((0, 1)), thresholds_with(), self.criterion))

    def classes_of(self, targets: Tensor) -> Tensor:
        """Return the class numbers themselves."""
        return targets.long()

    def known_metrics(self, outputs: int) -> Mapping[str, Callable[[], Metric]]:
        """Return agreement beyond chance and the like, at the threshold."""
        from torchmetrics import classification

        del outputs
        kinds: tuple[Any, ...] = (
            classification.BinaryCohenKappa,
            classification.BinaryMatthewsCorrCoef,
            classification.BinaryJaccardIndex,
        )
        return {name: partial(kind, threshold=self._used) for name, kind in zip(AT_THRESHOLD, kinds, strict=True)}

    def metric_arguments(self, outputs: int) -> dict[str, Any]:
        """Return what metrics of torchmetrics take: the kind of task, and a threshold that was given, or 0.5.

        They count samples before a threshold is chosen on the validation samples.
        """
        del outputs
        return {"task": "binary", "threshold": self._used}
