"""A network that answers at the client where its head is sure, and asks the server otherwise (SplitGP).

Han, Kim, Choi, Brinton, Moon: *SplitGP: Achieving Both Generalization and Personalization in Federated Learning*
(arXiv 2212.08343).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sglr.core.errors import UsageError
from sglr.core.task import Targets, Task


def check_entropy(entropy: float, task: Task, targets: Targets) -> None:
    """Refuse what is no entropy, up to which a head would answer, or outputs of which there is none.

    Raises
    ------
    UsageError
        If it is below zero or no number, or samples have no classes.
    """
    if not entropy >= 0:
        raise UsageError("head_entropy", entropy, "is no entropy", "give 0 or more, such as 0.2")
    if not targets.are_classes or task.output_shape(targets) != (targets.classes,):
        problem = "the network's outputs are not one logit for each class, of which there would be an entropy"
        raise UsageError("head_entropy", entropy, problem, "leave it out, or give --head")


def unsure_of(logits: Tensor, entropy: float) -> Tensor:
    """Say of which samples a head with these logits ``[b, K]`` is not sure, or which are no numbers: bool ``[b]``."""
    sure: Tensor = torch.special.entr(logits.softmax(-1)).sum(-1) <= entropy
    return ~sure


def answered_for(asked: int, alone: int) -> str:
    """Return in words for how many samples heads answered; empty if they were not asked."""
    return f"; heads answered for {alone:,} of {asked:,}" if asked else ""


class EarlyExit(nn.Module):
    """The client's layers, with its head and the server's layers behind them.

    The head answers for a sample if the entropy of its softmax is at most a threshold.

    Parameters
    ----------
    client, head, server
        Inputs ``[N, ...]`` to smashed data ``[N, ...]``, and each of the others from these to logits ``[N, K]``.
    entropy
        The threshold, in nats: 0 to ln K.

    Attributes
    ----------
    asked, alone
        How many samples there were, and how many of them the head answered for.
    """

    def __init__(self, client: nn.Module, head: nn.Module, server: nn.Module, entropy: float) -> None:
        super().__init__()
        self.client, self.head, self.server, self.entropy = client, head, server, entropy
        self.restart()

    def restart(self) -> None:
        """Begin to count anew."""
        self.asked = self.alone = 0

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the logits of whoever answers for each sample."""
        smashed = self.client(inputs)
        logits: Tensor = self.head(smashed)
        unsure = unsure_of(logits, self.entropy)
        self.asked += len(logits)
        self.alone += len(logits) - int(unsure.sum())
        if bool(unsure.any()):
            logits[unsure] = self.server(smashed[unsure])
        return logits
