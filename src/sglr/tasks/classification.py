"""Classes, one per sample: cross-entropy, and accuracy averaged over clients."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import torch
from torch import Tensor
from torch.nn import functional as F

from sglr.core.data import ClientData
from sglr.core.errors import UsageError
from sglr.core.scores import ClassCounts
from sglr.core.task import Sums, Targets, class_columns, refuse_targets
from sglr.metrics.with_metrics import THRESHOLDS, WithMetrics

if TYPE_CHECKING:
    from torchmetrics import Metric

__all__ = ["Classification"]

LARGEST_SHARE = 1 - 1e-7
"""The largest softmax output whose complement still has a logarithm in float32."""


def cross_entropy(logits: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
    """Return the cross-entropy of every sample ``[N]``, from logits ``[N, K]`` and class numbers ``[N]``.

    With smoothing ε a sample's own class is wanted with 1 - ε + ε/K and each other one with ε/K (Szegedy et al.,
    arXiv 1512.00567).
    """
    return F.cross_entropy(logits, labels, reduction="none", label_smoothing=smoothing)


def binary_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the binary cross-entropy of the softmax of every sample ``[N]``, averaged over the K classes.

    The loss of the authors' code: every class's probability is held against 1 or 0, so that a sample which is already
    right by a wide margin still pays for what is left to the other classes.
    """
    # By hand: torch's own raises on what is not a number, while training stops with a report of where it diverged.
    wanted = F.one_hot(labels, logits.shape[1]).bool()
    chosen = logits.log_softmax(1)
    others = torch.log1p(-logits.softmax(1).clamp(max=LARGEST_SHARE))
    return -torch.where(wanted, chosen, others).mean(1)


def focal(logits: Tensor, labels: Tensor, gamma: float) -> Tensor:
    """Return the focal loss of every sample ``[N]``: -(1 - p)^γ log p of its own class (Lin et al., 1708.02002)."""
    own = -F.cross_entropy(logits, labels, reduction="none")
    return -((1 - own.exp()) ** gamma) * own


@dataclass(frozen=True)
class Classification(WithMetrics):
    """Samples of one class each.

    Raises
    ------
    UsageError
        If a parameter is out of range, or has no effect on the loss.
    """

    loss: Literal["cross_entropy", "binary_cross_entropy", "focal"] = field(
        default="cross_entropy",
        metadata={
            "help": "training loss; binary_cross_entropy, on the softmax, is that of the authors' code",
            "clients": "take",
            "build": False,
        },
    )
    class_weights: tuple[str, ...] = field(
        default=(),
        metadata={
            "help": "weights of the classes in the loss, such as 1,5,1; or balanced: inverse to their frequency",
            "clients": "take",
            "since": "0.2.0",
        },
    )
    label_smoothing: float = field(
        default=0.0,
        metadata={
            "help": "share of each label that is spread over all classes, 0 to 1",
            "clients": "take",
            "since": "0.2.0",
        },
    )
    focal_gamma: float = field(
        default=2.0,
        metadata={"help": "exponent of the focal loss, γ", "clients": "take", "since": "0.2.0"},
    )

    headline: ClassVar[str] = "accuracy"
    usual: ClassVar[tuple[str, ...]] = ("accuracy", "balanced_accuracy", "macro_f1")
    pooled: ClassVar[frozenset[str]] = frozenset({"confusion"})
    counts_classes: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Refuse parameters out of range, or without effect."""
        if not 0 <= self.label_smoothing < 1:
            problem = "is not a share"
            raise UsageError("label_smoothing", self.label_smoothing, problem, "give 0 or more and less than 1")
        if self.label_smoothing and self.loss != "cross_entropy":
            problem = f"loss {self.loss} has no smoothing"
            raise UsageError("label_smoothing", self.label_smoothing, problem, "leave it out, or take cross_entropy")
        if not 0 <= self.focal_gamma < float("inf"):
            raise UsageError("focal_gamma", self.focal_gamma, "the exponent must not be negative", "give 0 or more")
        if not self._balanced:
            self._numbers()

    @property
    def _balanced(self) -> bool:
        return self.class_weights == ("balanced",)

    def _numbers(self) -> tuple[float, ...]:
        shown = ",".join(self.class_weights)
        try:
            weights = tuple(float(text) for text in self.class_weights)
        except ValueError as error:
            raise UsageError("class_weights", shown, "is no list of numbers", "give 1,5,1 or balanced") from error
        if not all(0 <= weight < float("inf") for weight in weights) or (weights and not any(weights)):
            raise UsageError("class_weights", shown, "weights are 0 or more, and not all 0", "give such as 1,5,1")
        return weights

    def check(self, targets: Targets) -> None:
        """Refuse targets that are no class numbers, and weights of another number of classes."""
        if not targets.are_classes:
            raise refuse_targets("classification", targets, "each sample needs one class", remedy_for(targets))
        if self.class_weights and not self._balanced and len(self.class_weights) != targets.classes:
            shown, problem = ",".join(self.class_weights), f"there are {targets.classes} classes"
            raise UsageError("class_weights", shown, problem, "give one weight for each class, in their order")

    def outputs(self, targets: Targets) -> int:
        """Return K, the number of classes."""
        return targets.classes

    def fitted(self, data: ClientData) -> Self:
        """Return the task with balanced weights as numbers: N / (K · N_k), as scikit-learn has them.

        Raises
        ------
        UsageError
            If they are asked for and the data are at other sites.
        """
        if not self._balanced:
            return self
        if not len(data.train):
            problem = "the server does not know how many samples of each class sites have"
            raise UsageError("class_weights", "balanced", problem, "give numbers, one for each class")
        counts = torch.bincount(data.train.targets, minlength=len(data.classes)).double()
        weights = len(data.train) / (len(counts) * counts.clamp(min=1))
        return replace(self, class_weights=tuple(f"{weight:.6g}" for weight in weights.tolist()))

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of every sample ``[N]``, from logits ``[N, K]`` and class numbers ``[N]``.

        A sample's loss is multiplied by its class's weight; the mean over samples is not divided by their weights.
        """
        found = self._losses[self.loss](outputs, targets)
        if not self.class_weights:
            return found
        return found * found.new_tensor(self._numbers())[targets]

    @property
    def _losses(self) -> Mapping[str, Callable[[Tensor, Tensor], Tensor]]:
        return {
            "cross_entropy": lambda logits, labels: cross_entropy(logits, labels, self.label_smoothing),
            "binary_cross_entropy": binary_cross_entropy,
            "focal": lambda logits, labels: focal(logits, labels, self.focal_gamma),
        }

    def test_losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the plain cross-entropy of every sample ``[N]``, so that runs with other losses can be compared."""
        return cross_entropy(outputs, targets)

    def predictions(self, outputs: Tensor, targets: Targets) -> dict[str, Tensor | list[str]]:
        """Return the likeliest class of each sample by its name, and the probability of each class."""
        return class_columns(outputs.argmax(1), outputs.softmax(1), targets.names)

    def hits(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return which samples are classified right, ``[N]``."""
        return outputs.argmax(1) == targets

    def sums(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Return `ClassCounts` of logits ``[n, m, K]`` and class numbers ``[m]``, and sums of further metrics."""
        counts = ClassCounts.none(len(outputs), outputs.shape[2], outputs.device)
        counts.add(slice(None), outputs.argmax(2), targets)
        return counts.tensors() | self.further_sums(outputs.shape[2], lambda: outputs.softmax(2), targets)

    def scores(self, sums: Sums) -> dict[str, Tensor]:
        """Return accuracy, balanced accuracy and macro F1 of every client ``[n]``."""
        counts = ClassCounts.among(sums)
        return {
            "accuracy": counts.right.sum(1).double() / counts.support.sum(1),
            "balanced_accuracy": counts.recall.nanmean(1),
            "macro_f1": counts.f1.nanmean(1),
            **self.further_scores(counts.support.shape[1], sums),
        }

    def known_metrics(self, outputs: int) -> Mapping[str, Callable[[], Metric]]:
        """Return rankings of classes, one against the rest, top-k accuracies, agreement beyond chance, calibration."""
        from torchmetrics import classification

        from sglr.metrics.calibration import CalibrationError

        curve: dict[str, Any] = {"num_classes": outputs, "thresholds": THRESHOLDS, "average": "none"}
        tops = {f"top{k}_accuracy": k for k in (2, 3, 5, 10) if k < outputs}
        accuracy = partial(classification.MulticlassAccuracy, outputs, average="micro")
        return {
            "auroc": partial(classification.MulticlassAUROC, **curve),
            "average_precision": partial(classification.MulticlassAveragePrecision, **curve),
            "calibration_error": CalibrationError,
            "kappa": partial(classification.MulticlassCohenKappa, outputs),
            "matthews": partial(classification.MulticlassMatthewsCorrCoef, outputs),
            "macro_precision": partial(classification.MulticlassPrecision, outputs),
            "macro_specificity": partial(classification.MulticlassSpecificity, outputs),
            **{name: partial(accuracy, top_k=k) for name, k in tops.items()},
        }

    def metric_arguments(self, outputs: int) -> dict[str, Any]:
        """Return what metrics of torchmetrics take: the kind of task, and K."""
        return {"task": "multiclass", "num_classes": outputs}

    def classes_of(self, targets: Tensor) -> Tensor:
        """Return the class numbers themselves."""
        return targets


def remedy_for(targets: Targets) -> str:
    """Return which tasks fit targets that are no class numbers."""
    if not targets.classes:
        return "name the task: --task regression"
    if len(targets.shape) > 1:
        return "name the task: --task segmentation"
    return f"name the task: --task {'language' if targets.classes > 2 else 'multilabel'}"
