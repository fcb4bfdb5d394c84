"""A network that answers at the client where its head is sure, and asks the server otherwise (SplitGP).

Han, Kim, Choi, Brinton, Moon: *SplitGP: Achieving Both Generalization and Personalization in Federated Learning*
(arXiv 2212.08343).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


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
        entropy = torch.special.entr(logits.softmax(-1)).sum(-1)
        unsure = ~(entropy <= self.entropy)  # where it is no number, too
        self.asked += len(logits)
        self.alone += len(logits) - int(unsure.sum())
        if bool(unsure.any()):
            logits[unsure] = self.server(smashed[unsure])
        return logits
