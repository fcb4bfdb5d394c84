"""Scores of held-out samples that lie with the clients: they run them forward, the server does the rest."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sglr.core.events import TrainMetrics
from sglr.core.scores import ClassCounts, Scores

Sent = tuple[Tensor, Tensor] | TrainMetrics
"""A client's answer for held-out samples: smashed data ``[m, ...]`` and labels ``[m]``, or its own sums."""

AskHeldOut = Callable[[list[int], int], Mapping[int, Sent]]
"""Returns clients' answers for their samples from a first one on; of the clients that are present."""

AskTails = Callable[[Mapping[int, Tensor], int], Mapping[int, Tensor]]
"""Gives, of clients that keep their labels, how many of the samples from a first one on they classify right by features
``[m, ...]``, and the sum of their losses, ``[2]``; of those who are present."""


def score(
    server: nn.Module, totals: Mapping[int, int], chunk: int, held_out: AskHeldOut, tails: AskTails | None = None
) -> Scores:
    """Score clients on held-out samples of their own, all clients side by side.

    Parameters
    ----------
    server
        The server's segment.
    totals
        How many samples each client has; more than none.
    chunk
        Samples of one client in one message.
    held_out
        Asks clients for them.
    tails
        Asks clients that have the labels, and the last layers.

    Returns
    -------
    Scores
        Of the clients that stayed to the end, in their order. With ``tails`` nothing is known of single classes: a
        count by class would tell how many samples of each class a client has, which labels that stay there must not.
        Nor where a client scored its samples itself.
    """
    server.eval()
    sums = {client: torch.zeros(2, dtype=torch.float64) for client in totals}
    counts: dict[int, ClassCounts] = {}
    for first in range(0, max(totals.values()), chunk):
        asked = [client for client in sums if totals[client] > first]
        sent = held_out(asked, first)
        if tails is None:
            found: Mapping[int, Tensor] = {client: _sums(server, own, client, counts) for client, own in sent.items()}
        else:
            found = tails(
                {client: _features(server, own[0]) for client, own in sent.items() if isinstance(own, tuple)}, first
            )
        for client in asked:
            if client in found:
                sums[client] += found[client]
            else:
                del sums[client]
    results = [own / totals[client] for client, own in sums.items()] or [torch.full((2,), float("nan"))]
    accuracy, loss = torch.stack(results).unbind(1)
    known = [counts[client] for client in sums if client in counts]
    whole = ClassCounts.joined(known, torch.arange(len(known))) if known and len(known) == len(sums) else None
    return Scores(accuracy, loss, whole)


def _features(server: nn.Module, smashed: Tensor) -> Tensor:
    with torch.no_grad():
        features: Tensor = server(smashed)
        return features.cpu()


def told_sums(told: TrainMetrics) -> Tensor:
    """Return how many samples a client says that it classified right, and the sum of their losses, ``[2]``."""
    return torch.tensor([told.correct, told.loss]).double()


def _sums(server: nn.Module, own: Sent, client: int, counts: dict[int, ClassCounts]) -> Tensor:
    """Return how many samples are classified right, and the sum of their losses; count classes for the client."""
    if isinstance(own, TrainMetrics):
        return told_sums(own)
    smashed, labels = own
    with torch.no_grad():
        logits: Tensor = server(smashed)
        predicted = logits.argmax(1)
        counts.setdefault(client, ClassCounts.none(1, logits.shape[1], logits.device)).add(
            slice(1), predicted[None], labels
        )
        right = (predicted == labels).sum()
        return torch.tensor([float(right), float(F.cross_entropy(logits, labels, reduction="sum"))]).double()
