"""Scores of held-out samples that lie with the clients: they run them forward, the server does the rest."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from sglr.core.events import NO_HITS
from sglr.core.scores import Scores, added, side_by_side
from sglr.core.task import Sums, Task
from sglr.engines.remote.told import HeldOutTally
from sglr.parties.evaluation import add_parts

Sent = tuple[Tensor, Tensor] | HeldOutTally
"""A client's answer for held-out samples: smashed data ``[m, ...]`` and targets ``[m, ...]``, or what they come to."""

AskHeldOut = Callable[[list[int], int], Mapping[int, Sent]]
"""Returns clients' answers for their samples from a first one on; of the clients that are present."""

AskTails = Callable[[Mapping[int, Tensor], int], Mapping[int, HeldOutTally]]
"""Gives, of clients that keep their labels, what samples from a first one on come to by features ``[m, ...]``; of those
who are present."""


def score(
    servers: Callable[[int], nn.Module],
    totals: Mapping[int, int],
    chunk: int,
    held_out: AskHeldOut,
    tails: AskTails | None,
    task: Task,
    parts: int = 1,
) -> Scores | None:
    """Score clients on held-out samples of their own, all clients side by side.

    Parameters
    ----------
    servers
        Gives the server's segment as a client knows it, in evaluation mode.
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
    Scores or None
        Of the clients that stayed to the end, in their order; None if no one did. Where labels stay with clients, or a
        client scored its samples itself, sums are not known, and only scores that all of them tell:
        `sglr.engines.remote.told`.
    """
    clients = {client: _Client([[] for _ in range(parts)]) for client in totals}
    for first in range(0, max(totals.values()), chunk):
        asked = [client for client in clients if totals[client] > first]
        sent = held_out(asked, first)
        if tails is None:
            found: Mapping[int, HeldOutTally] = {
                client: _scored(servers(client), own, task, clients[client].parts, first)
                for client, own in sent.items()
            }
        else:
            found = tails(
                {client: _features(servers(client), own[0]) for client, own in sent.items() if isinstance(own, tuple)},
                first,
            )
        for client in asked:
            if client in found:
                clients[client].add(found[client])
            else:
                del clients[client]
    return _scores(task, list(clients.values())) if clients else None


@dataclass
class _Client:
    """What is known of a client's samples so far: the sums of each part, or what the client tells."""

    parts: list[list[Sums]]
    loss: float = 0.0
    right: float = 0.0
    samples: int = 0
    told: Mapping[str, float] = field(default_factory=dict)

    def add(self, tally: HeldOutTally) -> None:
        """Add what further samples come to."""
        self.loss, self.right = self.loss + tally.loss, self.right + tally.correct
        self.samples, self.told = self.samples + tally.samples, tally.scores

    def scores(self, task: Task) -> Mapping[str, float]:
        """Return the client's scores by name; empty if it tells none."""
        if any(self.parts):
            known = task.scores(added([sums for part in self.parts for sums in part]))
            return {name: float(values[0]) for name, values in known.items()}
        return {task.headline: self.right / self.samples} if task.counts_classes else self.told


def _scores(task: Task, clients: Sequence[_Client]) -> Scores:
    """Return the scores of all clients: of sums if they are all known, else those that all who tell some tell."""
    loss = torch.tensor([one.loss / one.samples for one in clients], dtype=torch.float64)
    if all(any(one.parts) for one in clients):
        return Scores.of(task, loss, _side_by_side([one.parts for one in clients], task))
    each = [one.scores(task) for one in clients]
    telling = [row for row in each if row] or [{task.headline: torch.nan}]
    names = [name for name in telling[0] if all(name in row for row in telling)]
    rows = {name: [row.get(name, torch.nan) for row in each] for name in names}
    return Scores({name: torch.tensor(row, dtype=torch.float64) for name, row in rows.items()}, loss)


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


def _scored(server: nn.Module, own: Sent, task: Task, parts: list[list[Sums]], first: int) -> HeldOutTally:
    """Return what a client's samples come to; add the sums of samples from ``first`` on."""
    if isinstance(own, HeldOutTally):
        return own
    smashed, targets = own
    with torch.no_grad():
        outputs: Tensor = server(smashed)
        hits, losses = task.hits(outputs, targets), task.test_losses(outputs, targets)
        add_parts(task, parts, outputs[None].cpu(), targets.cpu(), first)
        return HeldOutTally(float(losses.sum()), NO_HITS if hits is None else float(hits.sum()), len(targets))
