"""Membership inference: find the samples that the network was trained with by its confidence in them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from sglr.core.data import Samples
from sglr.core.errors import UsageError
from sglr.core.random import key
from sglr.core.task import Serves
from sglr.privacy.attack import Attack, AttackResult
from sglr.privacy.measures.estimate import Estimate, share_estimate
from sglr.privacy.measures.roc import auc_estimate, true_positives_at
from sglr.privacy.target import Target
from sglr.privacy.threat import Sees

__all__ = ["Membership"]

LEAST = 20
"""Samples of each kind that a figure is made of at least."""
FEW = 0.01
"""Share of unseen samples that may be called members where it matters that accusations hold."""


@dataclass(frozen=True)
class Membership(Attack):
    """Call a sample a member if the network's loss on it is small (Yeom et al., 2018).

    As many samples of the client as samples that nobody trained with are asked for, of every class alike: else a client
    that has some classes only would be told by these. With ``signal = confidence`` the largest probability is
    looked at, for which the attacker need not know a sample's label (Salem et al., arXiv 1806.01246).
    """

    attacker: ClassVar[str] = "client"
    needs: ClassVar[frozenset[Sees]] = frozenset({Sees.MODEL})
    source: ClassVar[str] = "Yeom et al., CSF 2018, arXiv 1709.01604"
    serves: ClassVar[Serves] = Serves.CLASSIFICATION

    samples: int = field(default=1000, metadata={"help": "most samples of each kind"})
    signal: str = field(default="loss", metadata={"help": "what members are found by: loss or confidence"})

    def __post_init__(self) -> None:
        if self.signal not in ("loss", "confidence"):
            raise UsageError("signal", self.signal, "there is no such signal", "give loss or confidence")
        if self.samples < LEAST:
            raise UsageError("samples", self.samples, f"this attack needs {LEAST} samples", f"give {LEAST} or more")

    def carry_out(self, target: Target) -> AttackResult:
        """Tell the client's own samples from unseen ones.

        Raises
        ------
        UsageError
            If there are fewer than 20 of each, of the same classes.
        """
        members, others = self._balanced(target)
        inside, outside = self._scores(target, members), self._scores(target, others)
        accuracy = [_right(target, samples) for samples in (members, others)]
        return AttackResult(
            score=auc_estimate(inside, outside, f"membership by {self.signal}"),
            baseline=Estimate(0.5, 0.5, 0.5, "a guess", "1", len(inside) + len(outside)),
            measure="area under the ROC curve",
            more_leaks=True,
            details={
                "accuracy": _at_threshold(inside, outside, f"membership, threshold at the mean {self.signal}"),
                "true_positives_at_1_percent_false": true_positives_at(FEW, inside, outside, "members found"),
                "accuracy_on_members": accuracy[0],
                "accuracy_on_unseen": accuracy[1],
            },
            note="The score is how often the network is surer of a sample that it was trained with than of another.",
        )

    def _balanced(self, target: Target) -> tuple[Samples, Samples]:
        """Return as many own as unseen samples of every class, at random."""
        generator = torch.Generator().manual_seed(key(target.seed, "membership"))
        chosen: tuple[list[Tensor], list[Tensor]] = ([], [])
        share = min(1.0, self.samples / max(len(target.own), 1))
        for label in torch.unique(target.own.targets).tolist():
            rows = [(samples.targets == label).nonzero().flatten().cpu() for samples in (target.own, target.unseen)]
            count = min(round(len(rows[0]) * share), len(rows[1]))
            for own, found in zip(chosen, rows, strict=True):
                own.append(found[torch.randperm(len(found), generator=generator)[:count]])
        members, others = (
            samples.select(torch.cat(rows or [torch.arange(0)]))
            for samples, rows in zip((target.own, target.unseen), chosen, strict=True)
        )
        if len(members) < LEAST:
            problem = f"this attack needs {LEAST} samples of the client, and as many unseen ones of the same classes"
            raise UsageError("samples", f"{len(members)} samples", problem, "attack a client with more samples")
        return members, others

    def _scores(self, target: Target, samples: Samples) -> Tensor:
        """Return the network's confidence in each sample, ``[n]``."""
        scores = target.predict(samples.inputs).double()
        if self.signal == "confidence":
            return F.log_softmax(scores, 1).max(1).values
        return -F.cross_entropy(scores, samples.targets, reduction="none")


def _at_threshold(inside: Tensor, outside: Tensor, how: str) -> Estimate:
    """Return the share of right answers at the members' mean, which their training loss tells (Yeom, Adversary 1)."""
    threshold = inside.mean()
    hits = int((inside >= threshold).sum() + (outside < threshold).sum())
    return share_estimate(hits, len(inside) + len(outside), how)


def _right(target: Target, samples: Samples) -> Estimate:
    hits = int((target.predict(samples.inputs).argmax(1) == samples.targets).sum())
    return share_estimate(hits, len(samples), "samples classified right")
