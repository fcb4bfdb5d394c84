"""Scores of client segments on held-out samples: accuracy, loss and per-class counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

MOST_CLASSES = 100
"""K up to which a confusion matrix is kept: its K² figures are written into the run's summary."""

ROWS = ("support", "predicted", "right")
"""The counts that have a row for every client."""


@dataclass(frozen=True)
class ClassCounts:
    """How often classes occur, are predicted and are predicted rightly, for n client segments and K classes.

    A class that a client's samples lack is left out of that client's means, as scikit-learn does.

    Parameters
    ----------
    support
        Samples of each class that each client was scored on, int64 ``[n, K]``.
    predicted
        How often each class was predicted, int64 ``[n, K]``.
    right
        Samples of each class that were classified right, int64 ``[n, K]``.
    confusion
        Samples by true class (rows) and predicted class (columns), summed over clients, int64 ``[K, K]``; None where
        there are more than `MOST_CLASSES` classes.
    """

    support: Tensor
    predicted: Tensor
    right: Tensor
    confusion: Tensor | None = None

    @classmethod
    def none(cls, clients: int, classes: int, device: torch.device | str = "cpu") -> Self:
        """Return the counts of no sample yet, for `add`."""
        support, predicted, right = torch.zeros(3, clients, classes, dtype=torch.int64, device=device)
        kept = classes <= MOST_CLASSES
        square = torch.zeros(classes, classes, dtype=torch.int64, device=device) if kept else None
        return cls(support, predicted, right, square)

    def add(self, rows: slice, predicted: Tensor, labels: Tensor) -> None:
        """Count the predictions ``[g, m]`` of the clients in ``rows`` for samples of the classes ``labels`` ``[m]``.

        Work grows with the number of predictions and not with K, and no device is asked for a result.
        """
        wanted = labels.expand_as(predicted)
        one = predicted.new_ones(()).expand_as(predicted)
        self.support[rows].scatter_add_(1, wanted, one)
        self.predicted[rows].scatter_add_(1, predicted, one)
        self.right[rows].scatter_add_(1, wanted, (predicted == wanted).long())
        if self.confusion is not None:
            pairs = wanted * len(self.confusion) + predicted
            self.confusion.view(-1).scatter_add_(0, pairs.flatten(), one.new_ones(()).expand(pairs.numel()))

    @classmethod
    def joined(cls, parts: Sequence[ClassCounts], rows: Tensor) -> ClassCounts:
        """Return the counts of groups of clients as one; client i is at ``rows[i]`` of the groups in their order."""
        each = {name: torch.cat([getattr(part, name) for part in parts])[rows] for name in ROWS}
        squares = [part.confusion for part in parts if part.confusion is not None]
        return ClassCounts(**each, confusion=torch.stack(squares).sum(0) if squares else None)

    def tensors(self) -> dict[str, Tensor]:
        """Return the counts by name, on the CPU, for ``ClassCounts(**tensors)``."""
        return {name: tensor.cpu() for name, tensor in vars(self).items() if tensor is not None}

    @property
    def recall(self) -> Tensor:
        """Share of the samples of a class that are classified right, ``[n, K]``; NaN where there is none."""
        return self.right / self.support.double()

    @property
    def precision(self) -> Tensor:
        """Share of the predictions of a class that are right, ``[n, K]``; 0 where it is never predicted.

        NaN where the class neither occurs nor is predicted, for `f1` too.
        """
        return self._known(self.right / self.predicted.clamp(min=1).double())

    @property
    def f1(self) -> Tensor:
        """Harmonic mean of precision and recall of each class, ``[n, K]``: 2 · right / (support + predicted)."""
        return self._known(2 * self.right / (self.support + self.predicted).clamp(min=1).double())

    def _known(self, shares: Tensor) -> Tensor:
        return shares.masked_fill((self.support + self.predicted) == 0, torch.nan)

    @property
    def balanced_accuracy(self) -> float:
        """Mean recall over the classes that a client's samples have, averaged over clients."""
        return float(self.recall.nanmean(1).mean())

    @property
    def macro_f1(self) -> float:
        """Mean F1 over the classes that occur or are predicted, averaged over clients."""
        return float(self.f1.nanmean(1).mean())

    @property
    def majority_share(self) -> float:
        """The accuracy of always predicting the one class that occurs most, averaged over clients."""
        return float((self.support / self.support.sum(1, keepdim=True).double()).mean(0).max())


@dataclass(frozen=True)
class Scores:
    """Accuracy and loss of client segments with the server segment on one set of samples.

    Parameters
    ----------
    accuracy
        Share of samples classified right with each client's segment, ``[n]`` in [0, 1].
    loss
        Mean cross-entropy with each client's segment, ``[n]``.
    counts
        The same by class; None where labels stay with clients elsewhere, who tell nothing of single classes.
    """

    accuracy: Tensor
    loss: Tensor
    counts: ClassCounts | None = None

    @classmethod
    def joined(cls, parts: Sequence[Scores], order: Sequence[int]) -> Scores:
        """Return the scores of groups of clients as one; client i is at ``order[i]`` of the groups in their order."""
        rows = torch.tensor(order)
        counts = [part.counts for part in parts if part.counts is not None]
        return Scores(
            torch.cat([part.accuracy for part in parts])[rows],
            torch.cat([part.loss for part in parts])[rows],
            ClassCounts.joined(counts, rows) if counts else None,
        )

    @property
    def mean_accuracy(self) -> float:
        """Accuracy averaged over clients, as the paper reports it."""
        return float(self.accuracy.mean())

    @property
    def accuracy_std(self) -> float:
        """Standard deviation of the accuracy over clients (0 for one)."""
        return float(self.accuracy.std(correction=0))

    @property
    def mean_loss(self) -> float:
        """Loss averaged over clients."""
        return float(self.loss.mean())
