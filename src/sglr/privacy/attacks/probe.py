"""Label inference from smashed data alone, by a linear probe trained on a few labelled samples of one's own."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from sglr.core.errors import UsageError
from sglr.core.random import key
from sglr.core.task import Serves
from sglr.privacy.attack import Attack, AttackResult, require_positive
from sglr.privacy.measures.estimate import share_estimate
from sglr.privacy.target import Target
from sglr.privacy.threat import Sees

__all__ = ["Probe"]

LEAST = 10
"""Samples of the client's: with fewer, an interval says nothing."""


@dataclass(frozen=True)
class Probe(Attack):
    """Fit a ridge regression of one-hot labels on smashed data of labelled samples, and apply it to the client's.

    It shows what a server learns of labels that never leave the client (U-shaped split): training makes smashed data
    separate the classes.
    """

    attacker: ClassVar[str] = "server"
    needs: ClassVar[frozenset[Sees]] = frozenset({Sees.SMASHED, Sees.QUERIES, Sees.AUXILIARY})
    source: ClassVar[str] = "after Fu et al., Label inference attacks against vertical federated learning, USENIX 2022"
    serves: ClassVar[Serves] = Serves.CLASSES

    samples: int = field(default=1000, metadata={"help": "samples whose label is inferred, at most"})
    labelled: int = field(
        default=10, metadata={"help": "labelled samples of each class that the attacker has, at most"}
    )
    ridge: float = field(default=0.1, metadata={"help": "penalty on the probe's weights, relative to the data's size"})

    def __post_init__(self) -> None:
        require_positive(self, "samples", "labelled", "ridge")

    def carry_out(self, target: Target) -> AttackResult:
        """Infer the labels of the client's samples from what it sends of them.

        Raises
        ------
        UsageError
            If it has fewer than 10 samples, or the attacker none of some class.
        """
        if min(len(target.own), self.samples) < LEAST:
            count = min(len(target.own), self.samples)
            raise UsageError("own", f"{count} samples", f"this attack needs {LEAST} samples", "give more samples")
        known = self._labelled(target)
        labels = target.auxiliary.targets[known]
        generator = torch.Generator().manual_seed(key(target.seed, "attacked samples"))
        own = target.own.select(torch.randperm(len(target.own), generator=generator)[: self.samples])
        sent, seen = target.observed(target.auxiliary.inputs[known]), target.observed(own.inputs)
        guessed = _ridge(sent.flatten(1), F.one_hot(labels, target.classes), seen.flatten(1), self.ridge).argmax(1)
        hits, most = int((guessed == own.targets).sum()), int(torch.bincount(own.targets).max())
        return AttackResult(
            score=share_estimate(hits, len(own), "a linear probe of smashed data"),
            baseline=share_estimate(most, len(own), "the most frequent label"),
            measure="accuracy",
            more_leaks=True,
            note=f"The attacker has {len(known)} labelled samples, and needs no gradient.",
        )

    def _labelled(self, target: Target) -> Tensor:
        """Return rows of auxiliary samples, as many of each class."""
        generator = torch.Generator().manual_seed(key(target.seed, "labelled samples"))
        labels = target.auxiliary.targets
        order = torch.randperm(len(labels), generator=generator)
        rows = [order[labels[order] == each][: self.labelled] for each in range(target.classes)]
        fewest = min(len(each) for each in rows)
        if fewest < 1:
            problem = "this attack needs one sample of each class"
            raise UsageError("auxiliary", f"{fewest} samples of one class", problem, "give more samples")
        return torch.cat(rows)


def _ridge(known: Tensor, wanted: Tensor, asked: Tensor, penalty: float) -> Tensor:
    """Return ridge regression's scores ``[m, K]``, in the dual form: few samples, many values."""
    known, asked = known.double(), asked.double()
    mean = known.mean(0)
    known, asked = known - mean, asked - mean
    gram = known @ known.T
    gram += penalty * gram.diagonal().mean().clamp(min=1e-12) * torch.eye(len(gram), dtype=gram.dtype)
    share = wanted.double().mean(0)
    scores: Tensor = asked @ known.T @ torch.linalg.solve(gram, wanted.double() - share) + share
    return scores
