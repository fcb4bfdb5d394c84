"""The gradients of a step on their way to clients: to each its own, to active ones the average that they share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from torch import Tensor

from sglr.compression.channels import Channels
from sglr.compression.several_cuts import CutChannels
from sglr.core.types import Average, Downlink, Uplink

Send = Callable[[dict[str, Tensor], Sequence[int]], None]
"""Sends the parts of a gradient to some clients."""


@dataclass(frozen=True)
class Told:
    """What the clients of one cut receive in a step.

    Parameters
    ----------
    own
        Each client's gradients ``[b, ...]``, by id.
    averaged
        What of them several clients share; its rows are places among these clients.
    links
        Their channels.
    """

    own: dict[int, Tensor]
    averaged: Average | None
    links: Channels

    def send(self, send: Send, absent: AbstractSet[int]) -> None:
        """Send everyone but the absent what it receives; all channels are used in the order of the clients."""
        clients, averaged = list(self.own), self.averaged
        # By position, all active clients get the average as it is; by class, each its own.
        active = averaged.rows if averaged is not None and averaged.by_position else ()
        if averaged is not None and active:
            average = self.links.average(averaged.gradients.detach().cpu())
            sizes = {row: len(self.own[clients[row]]) for row in active}
            for size in sorted(set(sizes.values())):
                same = {clients[row] for row in active if sizes[row] == size}
                send({name: part[:size] for name, part in average.items()}, sorted(same - absent))
        for row, (client, gradient) in enumerate(self.own.items()):
            if row not in active and client not in absent:
                send(self.links.down(client, gradient), [client])


def told_by_cut(uplink: Uplink, downlink: Downlink, links: Channels | CutChannels) -> list[Told]:
    """Return what clients receive, those of each cut apart, in the shape of that cut."""
    found = []
    for cut, rows, sent in uplink.of_cuts():
        told = downlink.at(cut, rows, uplink.cuts)
        assert told.gradients is not None, "some are sent"
        each = zip(sent.clients, told.gradients.detach().cpu(), sent.sizes, strict=True)
        own = {client: gradient[:size] for client, gradient, size in each}
        found.append(Told(own, told.averaged, links.of_cut(cut)))
    return found
