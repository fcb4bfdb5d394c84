"""Scores of client segments on held-out samples, and counts of classes, of which many are made."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Self

import torch
from torch import Tensor

from sglr.core.errors import UsageError
from sglr.core.task import Sums, Task

MOST_CLASSES = 100
"""K up to which a confusion matrix is kept: its K² figures are written into the run's summary."""


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
    def among(cls, sums: Sums) -> Self:
        """Return the counts that stand by their names among other sums."""
        return cls(**{field.name: sums[field.name] for field in fields(cls) if field.name in sums})

    def tensors(self) -> dict[str, Tensor]:
        """Return the counts by name."""
        return {name: tensor for name, tensor in vars(self).items() if tensor is not None}

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
    """What held-out samples come to with each of n client segments and the server's segment.

    Parameters
    ----------
    values
        A task's scores of each client by name, ``[n]`` each; the headline comes first. NaN where it can't be told.
    loss
        Mean loss with each client's segment, ``[n]``.
    parts
        The sums that the scores are made of, of each part of the samples; empty where labels stay with clients
        elsewhere, who tell scores alone.
    """

    values: Mapping[str, Tensor]
    loss: Tensor
    parts: tuple[Sums, ...] = ()

    @classmethod
    def of(cls, task: Task, loss: Tensor, parts: Sequence[Sums]) -> Self:
        """Return the scores that sums come to."""
        return cls(task.scores(added(parts)), loss, tuple(parts))

    @classmethod
    def joined(cls, groups: Sequence[Scores], order: Sequence[int], task: Task) -> Scores:
        """Return the scores of groups of clients as one; client i is at ``order[i]`` of the groups in their order."""
        rows = torch.tensor(order)
        return Scores(
            {name: torch.cat([group.values[name] for group in groups])[rows] for name in groups[0].values},
            torch.cat([group.loss for group in groups])[rows],
            tuple(side_by_side(parts, task, rows) for parts in zip(*(group.parts for group in groups), strict=True)),
        )

    @property
    def sums(self) -> Sums:
        """The sums of all samples; empty where none are known."""
        return added(self.parts)

    def of_client(self, name: str) -> Tensor:
        """Return each client's score ``[n]`` by its name, ``"loss"`` among them."""
        if name != "loss" and name not in self.values:
            remedy = f"give --monitor {' or '.join((*self.values, 'loss'))}"
            raise UsageError("monitor", name, "clients that keep their labels don't tell it", remedy)
        return self.loss if name == "loss" else self.values[name]

    def record(self, prefix: str) -> dict[str, float]:
        """Return what an epoch's record tells: each score averaged over clients, and the spread of the headline."""
        headline = next(iter(self.values))
        found = {f"{prefix}{name}": self.mean(name) for name in (headline, "loss", *self.values)}
        found[f"{prefix}{headline}_std_over_clients"] = self.std(headline)
        return {name: value for name, value in found.items() if not math.isnan(value)}

    def mean(self, name: str) -> float:
        """Return a score averaged over the clients where it can be told, as the paper reports accuracy."""
        return float(self.of_client(name).nanmean())

    def std(self, name: str) -> float:
        """Return its standard deviation over these clients (0 for one)."""
        known = self.of_client(name)
        return float(known[~known.isnan()].std(correction=0)) if not known.isnan().all() else float("nan")


def added(parts: Sequence[Sums]) -> dict[str, Tensor]:
    """Return the sums of all parts."""
    if not parts:
        return {}
    return {name: torch.stack([part[name] for part in parts]).sum(0) for name in parts[0]}


def side_by_side(groups: Sequence[Sums], task: Task, rows: Tensor | None = None) -> dict[str, Tensor]:
    """Return the sums of groups of clients as one; client i is at ``rows[i]`` of the groups in their order."""
    found = {}
    for name in groups[0]:
        each = [group[name] for group in groups]
        if name in task.pooled:
            found[name] = torch.stack(each).sum(0)
        else:
            found[name] = torch.cat(each) if rows is None else torch.cat(each)[rows]
    return found


def in_one(sums: Sums, task: Task) -> dict[str, Tensor]:
    """Return the sums of all clients' predictions together, as those of one client."""
    return {name: each if name in task.pooled else each.sum(0, keepdim=True) for name, each in sums.items()}
