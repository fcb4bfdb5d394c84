"""Classes in an order, such as grades: one logit for each step up, and the quadratic weighted kappa."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from sglr.core.errors import UsageError
from sglr.core.task import Sums, Targets, class_columns, refuse_targets
from sglr.metrics.with_metrics import WithMetrics

if TYPE_CHECKING:
    from torchmetrics import Metric

__all__ = ["Ordinal"]


@dataclass(frozen=True)
class Ordinal(WithMetrics):
    """Samples of one of K classes that have an order: K - 1 logits, the k-th for "above class k".

    ``corn`` (Shi et al., arXiv 2111.08851): the k-th logit is for "above k, given at least k", and P(y > k) is the
    product of the first. It is consistent with any network, and the loss is -log P(y). ``coral`` (Cao et al., arXiv
    1901.07884) has a logit for each P(y > k) itself; its paper ties their weights, here the network decides.
    A sample's predicted class is the number of k with P(y > k) > 0.5: the median.

    Raises
    ------
    UsageError
        If ``order`` names a class twice.
    """

    loss: Literal["corn", "coral"] = field(
        default="corn",
        metadata={
            "help": "training loss: corn (above a class, given at least it) or coral (above a class)",
            "basic": True,
            "clients": "take",
            "build": False,
        },
    )
    order: tuple[str, ...] = field(
        default=(),
        metadata={
            "help": "the classes from lowest to highest, where their names don't tell, such as low,medium,high",
            "clients": "take",
            "since": "0.2.0",
        },
    )

    headline: ClassVar[str] = "quadratic_weighted_kappa"
    usual: ClassVar[tuple[str, ...]] = ("quadratic_weighted_kappa", "mae", "accuracy", "within_one")

    def __post_init__(self) -> None:
        """Refuse an order that names a class twice."""
        if len(set(self.order)) < len(self.order):
            raise UsageError("order", ",".join(self.order), "names a class twice", "name each class once")

    def check(self, targets: Targets) -> None:
        """Refuse targets that are no class numbers, and classes whose order is not known."""
        if not targets.are_classes or targets.classes < 3:
            other = "binary" if targets.are_classes else "multilabel" if targets.classes == 2 else "regression"
            problem = "each sample needs one of three or more classes"
            raise refuse_targets("ordinal", targets, problem, f"use --task {other}")
        shown, names, told = ",".join(self.order), ", ".join(targets.names), _tells_order(targets.names)
        if self.order and set(self.order) != set(targets.names):
            raise UsageError("order", shown, f"the classes are {names}", "name each of them once")
        if self.order and told:
            raise UsageError("order", shown, f"the classes stand in an order already: {names}", "leave it out")
        if not told and list(targets.names) != sorted(targets.names):
            problem = f"the classes {names} are numbers that neither rise nor stand in the order of the alphabet"
            rising = ",".join(sorted(targets.names, key=float))
            remedy = f"number them from lowest to highest in the data (a table: --classes {rising}), and give no order"
            raise UsageError("order", shown or "none", problem, remedy)
        if not self.order and not told:
            problem = f"the classes {names} may just stand in the order of the alphabet"
            raise UsageError("order", "none", problem, "name them from lowest to highest: --order low,medium,high")

    def outputs(self, targets: Targets) -> int:
        """Return K - 1, the number of steps from the lowest class to the highest."""
        return targets.classes - 1

    @property
    def _numbers(self) -> list[int]:
        """The numbers of the classes in their order: those that need one are numbered by the alphabet, see `check`."""
        return [sorted(self.order).index(name) for name in self.order]

    def ranks(self, targets: Tensor) -> Tensor:
        """Return the place of every sample's class in the order, from 0, of class numbers of any shape."""
        if not self.order:
            return targets.long()
        numbers = self._numbers
        places = [numbers.index(number) for number in range(len(numbers))]
        return torch.tensor(places, device=targets.device)[targets.long()]

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of every sample ``[N]``, from logits ``[N, K - 1]`` and class numbers ``[N]``.

        The sum over steps of the binary cross-entropy of "above k"; ``corn`` takes the steps up to the sample's class
        alone, so that it is -log P(y), in nats.
        """
        return self._steps(outputs, targets, conditional=self.loss == "corn")

    def test_losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the loss in training: the two losses mean different things by their logits."""
        return self.losses(outputs, targets)

    def _steps(self, outputs: Tensor, targets: Tensor, *, conditional: bool) -> Tensor:
        steps, own = torch.arange(outputs.shape[1], device=outputs.device), self.ranks(targets)[:, None]
        each = F.softplus(torch.where(own > steps, -outputs, outputs))
        return (each * (own >= steps)).sum(1) if conditional else each.sum(1)

    def predicted(self, outputs: Tensor) -> Tensor:
        """Return the place of the predicted class in the order, from logits ``[..., K - 1]``."""
        above = outputs.sigmoid()
        return ((above.cumprod(-1) if self.loss == "corn" else above) > 0.5).sum(-1)

    def predictions(self, outputs: Tensor, targets: Targets) -> dict[str, Tensor | list[str]]:
        """Return the predicted class of each sample, and the probability of each class, lowest first."""
        above = outputs.sigmoid()
        # coral's P(y > k) need not fall with k where the network's weights are not tied.
        above = above.cumprod(1) if self.loss == "corn" else above.cummin(1).values
        ends = above.new_ones(len(above), 1), above.new_zeros(len(above), 1)
        shares = -torch.cat([ends[0], above, ends[1]], 1).diff(dim=1)
        return class_columns(self.predicted(outputs), shares, self.order or targets.names)

    def hits(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return which samples are classified right, ``[N]``."""
        return self.predicted(outputs) == self.ranks(targets)

    def sums(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Return every client's confusion ``[n, K, K]``, true classes in rows, both in their order."""
        found, wanted, classes = self.predicted(outputs), self.ranks(targets), outputs.shape[2] + 1
        counts = torch.zeros(len(outputs), classes * classes, dtype=torch.int64, device=outputs.device)
        counts.scatter_add_(1, wanted * classes + found, torch.ones_like(found))
        further = self.further_sums(classes - 1, lambda: found, wanted)
        return {"confusion": counts.view(-1, classes, classes), **further}

    def scores(self, sums: Sums) -> dict[str, Tensor]:
        """Return every client's scores ``[n]``; kappa is NaN where all true and predicted classes are one.

        The quadratic weighted kappa (Cohen, 1968) is 1 - Σ (i - j)² O_ij / Σ (i - j)² E_ij, where O are the shares of
        true class i and predicted class j, and E what they would be by chance. ``mae`` is in classes.
        """
        seen = sums["confusion"].double()
        seen = seen / seen.sum((1, 2), keepdim=True)
        places = torch.arange(seen.shape[1], device=seen.device)
        apart = (places[:, None] - places).abs()
        chance = seen.sum(2, keepdim=True) * seen.sum(1, keepdim=True)
        return {
            "quadratic_weighted_kappa": 1 - (seen * apart**2).sum((1, 2)) / (chance * apart**2).sum((1, 2)),
            "mae": (seen * apart).sum((1, 2)),
            "accuracy": (seen * (apart == 0)).sum((1, 2)),
            "within_one": (seen * (apart <= 1)).sum((1, 2)),
            **self.further_scores(seen.shape[1] - 1, sums),
        }

    def figures(self, sums: Sums, targets: Targets) -> dict[str, Any]:
        """Return the confusion of all clients, and figures of each class, lowest first."""
        confusion = sums["confusion"].sum(0)
        names = self.order or targets.names
        right, truly, called = confusion.diagonal().tolist(), confusion.sum(1).tolist(), confusion.sum(0).tolist()
        return {
            "confusion": confusion.tolist(),
            "per_class": [
                {
                    "name": name,
                    "support": true,
                    "recall": _share(hits, true),
                    "precision": _share(hits, found),
                    "f1": _share(2 * hits, true + found),
                }
                for name, hits, true, found in zip(names, right, truly, called, strict=True)
            ],
        }

    def classes_of(self, targets: Tensor) -> Tensor:
        """Return the class numbers themselves."""
        return targets.long()

    def known_metrics(self, outputs: int) -> Mapping[str, Callable[[], Metric]]:
        """Return scores of classes that have no order."""
        from torchmetrics import classification

        classes = outputs + 1
        return {
            "kappa": lambda: classification.MulticlassCohenKappa(classes),
            "matthews": lambda: classification.MulticlassMatthewsCorrCoef(classes),
            "macro_f1": lambda: classification.MulticlassF1Score(classes),
            "balanced_accuracy": lambda: classification.MulticlassAccuracy(classes),
        }

    def metric_arguments(self, outputs: int) -> dict[str, Any]:
        """Return what metrics of torchmetrics take: the kind of task, and K."""
        return {"task": "multiclass", "num_classes": outputs + 1}


def _tells_order(names: tuple[str, ...]) -> bool:
    """Say whether classes stand in an order that someone chose: rising numbers, or not that of the alphabet."""
    try:
        numbers = [float(name) for name in names]
    except ValueError:
        return list(names) != sorted(names)
    return numbers == sorted(numbers)


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None
