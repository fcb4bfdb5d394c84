"""Scores of held-out samples that lie with the clients: they run them forward, the server does the rest."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from sglr.core.events import NO_HITS, TrainMetrics
from sglr.core.scores import Scores, added, side_by_side
from sglr.core.task import Sums, Task
from sglr.parties.evaluation import add_parts

Sent = tuple[Tensor, Tensor] | TrainMetrics
"""A client's answer for held-out samples: smashed data ``[m, ...]`` and labels ``[m]``, or its own sums."""

AskHeldOut = Callable[[list[int], int], Mapping[int, Sent]]
"""Returns clients' answers for their samples from a first one on; of the clients that are present."""

AskTails = Callable[[Mapping[int, Tensor], int], Mapping[int, Tensor]]
"""Gives, of clients that keep their labels, how many of the samples from a first one on they classify right by features
``[m, ...]``, and the sum of their losses, ``[2]``; of those who are present."""


def score(
    server: nn.Module,
    totals: Mapping[int, int],
    chunk: int,
    held_out: AskHeldOut,
    tails: AskTails | None,
    task: Task,
    parts: int = 1,
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
        Asks clients that have the labels, and the last layers; None where the server has the labels.
    task
        What is learned.
    parts
        P: the sums of each client's samples i, i + P, i + 2P … are kept apart for each i.

    Returns
    -------
    Scores
        Of the clients that stayed to the end, in their order. Where labels stay with clients, or a client scored its
        samples itself, sums are not known: a count by class would tell how many samples of each class a client has.
    """
    server.eval()
    told = {client: torch.zeros(2, dtype=torch.float64) for client in totals}
    sums: dict[int, list[list[Sums]]] = {}
    for first in range(0, max(totals.values()), chunk):
        asked = [client for client in told if totals[client] > first]
        sent = held_out(asked, first)
        if tails is None:
            found: Mapping[int, Tensor] = {
                client: _added(server, own, task, sums.setdefault(client, [[] for _ in range(parts)]), first)
                for client, own in sent.items()
            }
        else:
            found = tails(
                {client: _features(server, own[0]) for client, own in sent.items() if isinstance(own, tuple)}, first
            )
        for client in asked:
            if client in found:
                told[client] += found[client]
            else:
                del told[client]
    results = [own / totals[client] for client, own in told.items()] or [torch.full((2,), float("nan"))]
    right, loss = torch.stack(results).unbind(1)
    known = [sums[client] for client in told if any(sums.get(client, ()))]
    if not known or len(known) < len(told):
        # What clients tell is how many samples are right: the headline of classes, and of no other task.
        return Scores({task.headline: right if task.counts_classes else torch.full_like(right, torch.nan)}, loss)
    return Scores.of(task, loss, _side_by_side(known, task))


def _side_by_side(clients: Sequence[Sequence[Sequence[Sums]]], task: Task) -> list[Sums]:
    """Return the sums of each part that has samples, of all clients; zero for those who have none in it."""
    some = next(part[0] for part in clients[0] if part)
    none = {name: torch.zeros_like(tensor) for name, tensor in some.items()}
    return [
        side_by_side([added(part) or none for part in each], task) for each in zip(*clients, strict=True) if any(each)
    ]


def _features(server: nn.Module, smashed: Tensor) -> Tensor:
    with torch.no_grad():
        features: Tensor = server(smashed)
        return features.cpu()


def told_sums(told: TrainMetrics) -> Tensor:
    """Return how many samples a client says that are right, and the sum of their losses, ``[2]``."""
    return torch.tensor([told.correct, told.loss]).double()


def _added(server: nn.Module, own: Sent, task: Task, parts: list[list[Sums]], first: int) -> Tensor:
    """Return how many samples are right, and the sum of their losses; add the sums of samples from ``first`` on."""
    if isinstance(own, TrainMetrics):
        return told_sums(own)
    smashed, targets = own
    with torch.no_grad():
        outputs: Tensor = server(smashed)
        hits, losses = task.hits(outputs, targets), task.test_losses(outputs, targets)
        add_parts(task, parts, outputs[None].cpu(), targets.cpu(), first)
        right = NO_HITS if hits is None else float(hits.sum())
        return torch.tensor([right, float(losses.sum())]).double()
