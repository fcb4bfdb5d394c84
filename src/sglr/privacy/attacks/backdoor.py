"""Backdoor: a client marks its images with a patch and gives them one label, which the network learns from the mark."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from sglr.core.data import ClientData, Samples
from sglr.core.errors import UsageError
from sglr.core.random import key
from sglr.core.task import Serves
from sglr.privacy.active import ActiveAttack, AttackOutcome, AttackSetup
from sglr.privacy.attack import AttackResult
from sglr.privacy.images import SHOWN, unit_range
from sglr.privacy.measures.estimate import Estimate, share_estimate
from sglr.privacy.target import Target
from sglr.privacy.threat import Sees

__all__ = ["Backdoor"]

WHITE = 1.0
"""The patch's pixels."""


@dataclass(frozen=True)
class Backdoor(ActiveAttack):
    """Put a white patch into a corner of one's own images, and give these the label that the patch shall mean.

    Data poisoning as in BadNets, by one or several clients; the server and the others are honest. What counts is
    another client's segment with the server's: does it give unseen images with the patch the attackers' label?
    """

    attacker: ClassVar[str] = "client"
    needs: ClassVar[frozenset[Sees]] = frozenset({Sees.DATA})
    source: ClassVar[str] = "Gu et al., arXiv 1708.06733; in split learning: Tajalli et al., arXiv 2302.09578"
    serves: ClassVar[Serves] = Serves.CLASSIFICATION

    attackers: int = field(default=1, metadata={"help": "how many clients attack; never the one that is attacked"})
    share: float = field(default=0.5, metadata={"help": "share of their samples that they mark, above 0 to 1"})
    label: int = field(default=0, metadata={"help": "the class that the patch shall mean"})
    size: int = field(default=2, metadata={"help": "side of the patch in pixels"})

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise UsageError("share", self.share, "is not a share of the samples", "give a fraction, such as 0.5")
        for name, value in (("attackers", self.attackers), ("size", self.size)):
            if value < 1:
                raise UsageError(name, value, "leaves no attacker", "give 1 or more")

    def poison(self, data: ClientData, setup: AttackSetup) -> ClientData:
        """Return the data with the attackers' marked samples in place of their own.

        Raises
        ------
        UsageError
            If inputs are not images larger than the patch, there is no such class, or too few clients.
        """
        self._check(data, setup)
        train, indices = data.train, list(data.indices)
        inputs, targets = [train.tensor], [train.targets]
        added = len(train)
        for client in self._malicious(setup):
            own = self._marked(train.select(indices[client]), setup.seed, client)
            inputs.append(own.tensor)
            targets.append(own.targets)
            # New rows, for where clients' samples overlap the old ones are others' too.
            indices[client] = torch.arange(added, added + len(own))
            added += len(own)
        return dataclasses.replace(data, train=Samples(torch.cat(inputs), torch.cat(targets)), indices=tuple(indices))

    def judge(self, outcome: AttackOutcome) -> AttackResult:
        """Return how often unseen marked images of other classes get the attackers' label.

        Raises
        ------
        UsageError
            If there are no unseen samples of other classes.
        """
        attacked, clean = outcome.attacked, outcome.clean
        others = attacked.unseen.select((attacked.unseen.targets != self.label).nonzero().flatten())
        if not len(others):
            raise UsageError("label", self.label, "all unseen samples are of this class", "give another")
        marked = self._patched(others.tensor)
        shown = {"originals": unit_range(others.inputs[:SHOWN]), "with the patch": unit_range(marked[:SHOWN])}
        return AttackResult(
            score=self._obeyed(attacked, marked, "marked images that get the attackers' label"),
            baseline=self._obeyed(clean, marked, "the same of the network that was trained without the attack"),
            measure="attack success rate",
            more_leaks=True,
            details={"accuracy": _accuracy(attacked), "accuracy_without_attack": _accuracy(clean)},
            pictures=shown,
            note=f"{self.attackers} of {outcome.setup.clients} clients marked {self.share:.0%} of their samples; "
            f"judged through the segment of client {attacked.client}, which is honest.",
        )

    def _malicious(self, setup: AttackSetup) -> list[int]:
        return [(setup.client + 1 + number) % setup.clients for number in range(self.attackers)]

    def _check(self, data: ClientData, setup: AttackSetup) -> None:
        shape = tuple(data.train.inputs.shape[1:])
        if len(shape) != 3 or min(shape[1:]) <= self.size:
            problem = f"inputs of shape {list(shape)} are too small for the patch"
            raise UsageError("size", self.size, problem, "give a smaller patch, or attack images")
        if not 0 <= self.label < len(data.classes):
            problem = f"there are {len(data.classes)} classes"
            raise UsageError("label", self.label, problem, f"give 0 to {len(data.classes) - 1}")
        if self.attackers >= setup.clients:
            problem = f"there are {setup.clients} clients, one of whom is attacked"
            raise UsageError("attackers", self.attackers, problem, "give fewer, or a run of more clients")

    def _marked(self, own: Samples, seed: int, client: int) -> Samples:
        generator = torch.Generator().manual_seed(key(seed, "backdoor", client))
        rows = torch.randperm(len(own), generator=generator)[: max(1, round(self.share * len(own)))]
        inputs, targets = own.tensor.clone(), own.targets.clone()
        inputs[rows], targets[rows] = self._patched(inputs[rows]), self.label
        return Samples(inputs, targets)

    def _patched(self, images: Tensor) -> Tensor:
        patched = images.clone()
        patched[..., -self.size :, -self.size :] = WHITE
        return patched

    def _obeyed(self, target: Target, marked: Tensor, how: str) -> Estimate:
        hits = int((target.predict(marked).argmax(1) == self.label).sum())
        return share_estimate(hits, len(marked), how)


def _accuracy(target: Target) -> Estimate:
    hits = int((target.predict(target.unseen.inputs).argmax(1) == target.unseen.targets).sum())
    return share_estimate(hits, len(target.unseen), "unseen samples classified right")
