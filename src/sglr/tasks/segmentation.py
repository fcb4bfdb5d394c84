"""A class for every pixel: cross-entropy, soft Dice or both, and the mean Dice over classes as the headline."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import torch
from torch import Tensor
from torch.nn import functional as F

from sglr.core.data import ClientData
from sglr.core.errors import UsageError
from sglr.core.scores import MOST_CLASSES
from sglr.core.task import Sums, Targets, refuse_targets
from sglr.metrics.with_metrics import WithMetrics

if TYPE_CHECKING:
    from torchmetrics import Metric

__all__ = ["Segmentation"]

SMOOTH = 1e-5
"""Added above and below a Dice, so that a class that is nowhere wanted nor predicted has the Dice 1 (nnU-Net)."""


@dataclass(frozen=True)
class Segmentation(WithMetrics):
    """Masks of class numbers: the network gives K values for each pixel (or voxel) of its input.

    The headline is the mean Dice, which medical work reports; IoU = Dice / (2 - Dice) ranks a class's predictions
    alike. Both are of each class over all pixels of all samples together, so they don't depend on how samples were
    cut into batches and clients; a mean over single samples' Dice is another number.

    Raises
    ------
    UsageError
        If a weight is negative, or all are 0.
    """

    loss: Literal["cross_entropy", "dice", "dice_cross_entropy"] = field(
        default="cross_entropy",
        metadata={
            "help": "training loss; dice_cross_entropy is the sum of both",
            "basic": True,
            "clients": "take",
            "build": False,
        },
    )
    ignore_index: int | None = field(
        default=None,
        metadata={
            "help": "number in masks of pixels that don't count, often 255",
            "clients": "take",
            "since": "0.2.0",
        },
    )
    class_weights: tuple[float, ...] = field(
        default=(),
        metadata={
            "help": "weights of the classes in the loss, such as 1,5,1",
            "clients": "take",
            "since": "0.2.0",
        },
    )

    headline: ClassVar[str] = "dice"
    usual: ClassVar[tuple[str, ...]] = ("dice", "iou", "pixel_accuracy")
    pooled: ClassVar[frozenset[str]] = frozenset({"confusion"})

    def __post_init__(self) -> None:
        """Refuse weights that don't weigh."""
        weights = self.class_weights
        if not all(0 <= weight < math.inf for weight in weights) or (weights and not any(weights)):
            shown = ",".join(f"{weight:g}" for weight in weights)
            raise UsageError("class_weights", shown, "weights are 0 or more, and not all 0", "give such as 1,5,1")

    def check(self, targets: Targets) -> None:
        """Refuse targets that are no masks of classes, and weights of another number of classes."""
        if targets.classes < 2 or len(_places(targets)) < 2:
            problem = "each sample needs a mask of class numbers, [height, width] or [depth, height, width]"
            raise refuse_targets("segmentation", targets, problem, "give masks, or name another task")
        if self.class_weights and len(self.class_weights) != targets.classes:
            shown, problem = ",".join(f"{weight:g}" for weight in self.class_weights), f"there are {targets.classes}"
            raise UsageError("class_weights", shown, f"{problem} classes", "give one weight for each, in their order")

    def fitted(self, data: ClientData) -> Self:
        """Return the task itself, having looked at the masks.

        Raises
        ------
        UsageError
            If a number in them is no class and not ignored.
        """
        parts = {"train": data.train, "validation": data.validation, "test": data.test}
        for part, samples in parts.items():
            if samples is not None:
                self._check_numbers(f"{part}.targets", samples.targets, data.targets.classes)
        return self

    def _check_numbers(self, field: str, masks: Tensor, classes: int) -> None:
        wrong = [
            int(number) for number in torch.unique(masks) if not 0 <= number < classes and not self._ignored(number)
        ]
        if wrong:
            problem = f"is no class: they are 0 to {classes - 1}, and ignore_index is {self.ignore_index}"
            remedy = f"give ignore_index={wrong[0]} if such pixels don't count, or correct the masks"
            raise UsageError(field, ", ".join(map(str, wrong[:5])), problem, remedy)

    def outputs(self, targets: Targets) -> int:
        """Return K, the number of classes."""
        return targets.classes

    def output_shape(self, targets: Targets) -> tuple[int, ...]:
        """Return ``(K, height, width)`` or ``(K, depth, height, width)``: the size of the masks."""
        return (targets.classes, *_places(targets))

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of every sample ``[N]``, from outputs ``[N, K, ...]`` and masks ``[N, ...]``.

        Cross-entropy is that of torch for the sample alone: the mean over its pixels that count, weighted by their
        classes. Dice is 1 - (2 Σ p g + ε) / (Σ p + Σ g + ε) for each class, with p the softmax and g 1 where the
        pixel is of the class, over the sample's pixels that count (Drozdzal et al., 1608.04117, after Milletari et
        al., 1606.04797); of these it is the mean over the classes that the sample has, weighted: that of an absent
        class is 1 nearly everywhere, and has no gradient. A sample without a pixel that counts has the loss 0.
        """
        logits, wanted, counts = self._flat(outputs, targets)
        weights = logits.new_tensor(self.class_weights or (1.0,) * logits.shape[1])
        found = logits.new_zeros(len(logits))
        if self.loss != "dice":
            found = found + _cross_entropy(logits, wanted, counts, weights)
        if self.loss != "cross_entropy":
            found = found + _dice(logits, wanted, counts, weights)
        return found

    def _flat(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits ``[N, K, P]``, class numbers ``[N, P]``, and which of the P pixels count ``[N, P]``."""
        numbers = targets.flatten(1).long()
        counts = ~self._ignored(numbers)
        return outputs.flatten(2), numbers.where(counts, 0), counts

    def _ignored(self, numbers: Tensor) -> Tensor:
        if self.ignore_index is None:
            return torch.zeros_like(numbers, dtype=torch.bool)
        return torch.eq(numbers, self.ignore_index)

    @property
    def ignored(self) -> frozenset[int]:
        """The number of pixels that don't count, if there is one."""
        return frozenset() if self.ignore_index is None else frozenset({self.ignore_index})

    def predictions(self, outputs: Tensor, targets: Targets) -> dict[str, Tensor | list[str]]:
        """Return each sample's mask ``[N, ...]``, and the share of its pixels that each class has."""
        masks = outputs.argmax(1)
        names = targets.names or tuple(map(str, range(outputs.shape[1])))
        shares = {f"share_{name}": masks.flatten(1).eq(place).float().mean(1) for place, name in enumerate(names)}
        return {"mask": masks.to(torch.uint8 if outputs.shape[1] <= 256 else torch.int64), **shares}

    def hits(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the share of every sample's pixels that are right, ``[N]``; 0 if none counts."""
        logits, wanted, counts = self._flat(outputs, targets)
        right = (logits.argmax(1) == wanted) & counts
        return right.sum(1) / counts.sum(1).clamp(min=1)

    def sums(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Return pixels of each class, predicted as it, and both, ``[n, K]``, and the confusion ``[K, K]`` of all.

        Parameters
        ----------
        outputs
            ``[n, m, K, ...]``.
        targets
            ``[m, ...]``.
        """
        clients, classes = len(outputs), outputs.shape[2]
        predicted = outputs.argmax(2).flatten(1)
        _, wanted, counts = self._flat(outputs[0], targets)
        wanted = wanted.flatten().expand(clients, -1)
        one = counts.flatten().long().expand(clients, -1)
        none = torch.zeros(clients, classes, dtype=torch.int64, device=outputs.device)
        found = {
            "support": none.scatter_add(1, wanted, one),
            "predicted": none.scatter_add(1, predicted, one),
            "right": none.scatter_add(1, wanted, one * (predicted == wanted)),
        }
        if classes <= MOST_CLASSES:
            pairs = none.new_zeros(classes**2).scatter_add_(0, (wanted * classes + predicted).flatten(), one.flatten())
            found["confusion"] = pairs.view(classes, classes)
        masks = targets.long().view(len(targets), *outputs.shape[3:])
        return found | self.further_sums(classes, lambda: outputs.argmax(2), masks)

    def scores(self, sums: Sums) -> dict[str, Tensor]:
        """Return Dice, IoU and the share of pixels that are right, of every client ``[n]``.

        Dice and IoU are means over the classes that the masks have or the client predicts, without the ignored one.
        """
        by_class = self._by_class(sums)
        return {
            "dice": by_class["dice"].nanmean(1),
            "iou": by_class["iou"].nanmean(1),
            "pixel_accuracy": sums["right"].sum(1) / sums["support"].sum(1).double(),
            **self.further_scores(sums["support"].shape[1], sums),
        }

    def known_metrics(self, outputs: int) -> Mapping[str, Callable[[], Metric]]:
        """Return scores of pixels: agreement beyond chance, and means over classes."""
        from torchmetrics import classification

        kinds: dict[str, Any] = {
            "kappa": classification.MulticlassCohenKappa,
            "recall": classification.MulticlassRecall,
            "precision": classification.MulticlassPrecision,
            "specificity": classification.MulticlassSpecificity,
        }
        return {name: partial(kind, outputs, ignore_index=self.ignore_index) for name, kind in kinds.items()}

    def metric_arguments(self, outputs: int) -> dict[str, Any]:
        """Return what metrics of torchmetrics take: K, the number to ignore, and that they get class numbers."""
        kinds = {"task": "multiclass", "input_format": "index"}
        return {**kinds, "num_classes": outputs, "ignore_index": self.ignore_index}

    def _by_class(self, sums: Sums) -> dict[str, Tensor]:
        """Return Dice and IoU of every client and class ``[n, K]``; NaN where it neither occurs nor is predicted."""
        right, either = sums["right"].double(), sums["support"] + sums["predicted"]
        ignored = self._ignored(torch.arange(right.shape[1], device=right.device))
        found = {"iou": right / (either - right), "dice": 2 * right / either}
        return {name: values.masked_fill(ignored, math.nan) for name, values in found.items()}

    def figures(self, sums: Sums, targets: Targets) -> dict[str, Any]:
        """Return Dice and IoU of each class as means over clients, and the confusion matrix of pixels, if not large."""
        means = {name: values.nanmean(0).tolist() for name, values in self._by_class(sums).items()}
        names = targets.names or tuple(map(str, range(targets.classes)))
        told: dict[str, Any] = {
            "per_class": [
                {"name": name, **{score: _or_none(values[place]) for score, values in means.items()}}
                for place, name in enumerate(names)
            ]
        }
        return told | ({"confusion": sums["confusion"].tolist()} if "confusion" in sums else {})


def _cross_entropy(logits: Tensor, wanted: Tensor, counts: Tensor, weights: Tensor) -> Tensor:
    each = F.cross_entropy(logits, wanted, reduction="none")
    weight = weights[wanted] * counts
    return (each * weight).sum(1) / _or_one(weight.sum(1))


def _dice(logits: Tensor, wanted: Tensor, counts: Tensor, weights: Tensor) -> Tensor:
    shares = logits.softmax(1) * counts.unsqueeze(1)
    own = F.one_hot(wanted, logits.shape[1]).movedim(-1, 1) * counts.unsqueeze(1)
    dice = (2 * (shares * own).sum(2) + SMOOTH) / (shares.sum(2) + own.sum(2) + SMOOTH)
    weight = weights * (own.sum(2) > 0)
    return ((1 - dice) * weight).sum(1) / _or_one(weight.sum(1))


def _or_one(sums: Tensor) -> Tensor:
    return sums.where(sums > 0, 1.0)


def _places(targets: Targets) -> tuple[int, ...]:
    """Return the size of a mask, without the channel that some data sets have."""
    shape = targets.shape
    return shape[1:] if len(shape) > 2 and shape[0] == 1 else shape


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value
