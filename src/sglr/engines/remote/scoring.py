"""Scores of held-out samples that lie with the clients: they run them forward, the server does the rest."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sglr.core.scores import ClassCounts, Scores

HeldOut = Callable[[list[int], int], Mapping[int, tuple[Tensor, Tensor]]]
"""Gives, of clients, the smashed data ``[m, ...]`` and labels ``[m]`` of their samples from a first one on; of those
who are present."""


Tails = Callable[[Mapping[int, Tensor], int], Mapping[int, Tensor]]
"""Gives, of clients that keep their labels, how many of the samples from a first one on they classify right by features
``[m, ...]``, and the sum of their losses, ``[2]``; of those who are present."""


def score(
    server: nn.Module, totals: Mapping[int, int], chunk: int, held_out: HeldOut, tails: Tails | None = None
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
        Asks for them.
    tails
        Asks clients that have the labels, and the last layers.

    Returns
    -------
    Scores
        Of the clients that stayed to the end, in their order. With ``tails`` nothing is known of single classes: a
        count by class would tell how many samples of each class a client has, which labels that stay there must not.
    """
    server.eval()
    sums = {client: torch.zeros(2, dtype=torch.float64) for client in totals}
    counts: dict[int, ClassCounts] = {}
    for first in range(0, max(totals.values()), chunk):
        asked = [client for client in sums if totals[client] > first]
        sent = held_out(asked, first)
        if tails is None:
            found: Mapping[int, Tensor] = {client: _sums(server, *own, client, counts) for client, own in sent.items()}
        else:
            found = tails({client: _features(server, smashed) for client, (smashed, _) in sent.items()}, first)
        for client in asked:
            if client in found:
                sums[client] += found[client]
            else:
                del sums[client]
    results = [own / totals[client] for client, own in sums.items()] or [torch.full((2,), float("nan"))]
    accuracy, loss = torch.stack(results).unbind(1)
    known = [counts[client] for client in sums if client in counts]
    return Scores(accuracy, loss, ClassCounts.joined(known, torch.arange(len(known))) if known else None)


def _features(server: nn.Module, smashed: Tensor) -> Tensor:
    with torch.no_grad():
        features: Tensor = server(smashed)
        return features.cpu()


def _sums(server: nn.Module, smashed: Tensor, labels: Tensor, client: int, counts: dict[int, ClassCounts]) -> Tensor:
    """Return how many samples are classified right, and the sum of their losses; count classes for the client."""
    with torch.no_grad():
        logits: Tensor = server(smashed)
        predicted = logits.argmax(1)
        counts.setdefault(client, ClassCounts.none(1, logits.shape[1], logits.device)).add(
            slice(1), predicted[None], labels
        )
        right = (predicted == labels).sum()
        return torch.tensor([float(right), float(F.cross_entropy(logits, labels, reduction="sum"))]).double()
