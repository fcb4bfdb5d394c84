"""What a step moves: blocks' smashed data into the joint batch, and gradients out of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from sglr.core.types import Answer, Average, Downlink, Uplink
from sglr.engines.ray.object_store import SentArray, receive, send
from sglr.engines.ray.worker import Answered, SentGradients, Smashed


def join(parts: Sequence[Smashed], device: torch.device) -> Uplink:
    """Lay what blocks sent into one uplink, with one copy, in the layout that the server reads.

    Parameters
    ----------
    parts
        Of every block that has a client in the step, in the order of clients.
    device
        Where the server is.
    """
    received = [receive(part.smashed) for part in parts]
    clients = tuple(client for part in parts for client in part.clients)
    sizes = tuple(size for part in parts for size in part.sizes)
    whole = min(sizes) == max(sizes)
    smashed = _room(received[0], len(clients), max(sizes), device, empty=whole)
    told = [receive(part.labels) for part in parts if part.labels is not None]
    labels = told[0].new_zeros(len(clients), max(sizes), *told[0].shape[2:], device=device) if told else None
    row = 0
    for number, (part, values) in enumerate(zip(parts, received, strict=True)):
        rows = slice(row, row + len(part.clients))
        smashed[rows, : values.shape[1]] = values.to(device)
        if labels is not None:
            labels[rows, : values.shape[1]] = told[number].to(device)
        row = rows.stop
    return Uplink(smashed, labels, clients, sizes)


def _room(like: Tensor, clients: int, longest: int, device: torch.device, *, empty: bool) -> Tensor:
    """Return room for ``[C, b, ...]``; images channels-last, as the server's convolutions want them."""
    shape = list(like.shape[2:])
    if len(shape) != 3:
        size = (clients, longest, *shape)
        return torch.empty(size, dtype=like.dtype, device=device) if empty else like.new_zeros(size, device=device)
    channels, height, width = shape
    size = (clients, longest, height, width, channels)
    room = torch.empty(size, dtype=like.dtype, device=device) if empty else like.new_zeros(size, device=device)
    return room.movedim(-1, 2)


def scatter(
    downlink: Downlink, uplink: Uplink, blocks: Mapping[int, Sequence[int]]
) -> tuple[SentArray | None, dict[int, SentGradients]]:
    """Return what is common to several clients, and what every block gets beside it.

    Parameters
    ----------
    downlink
        What the clients receive.
    uplink
        What they had sent.
    blocks
        The clients of every block that are in the step, ascending.
    """
    assert downlink.gradients is not None, "clients receive gradients"
    gradients, averaged = downlink.gradients.detach().cpu(), downlink.averaged
    shared = averaged if averaged is not None and averaged.by_position and averaged.rows else None
    active = frozenset(shared.rows) if shared is not None else frozenset()
    parts: dict[int, SentGradients] = {}
    row = 0
    for block, clients in blocks.items():
        rows = range(row, row + len(clients))
        own = [place for place in rows if place not in active]
        chosen = gradients[rows.start : rows.stop] if len(own) == len(rows) else gradients[own]
        longest = max(uplink.sizes[rows.start : rows.stop])
        sent = send(chosen[:, :longest]) if own else None
        parts[block] = SentGradients(sent, tuple(place - row for place in rows if place in active))
        row = rows.stop
    return None if shared is None else send(_average(shared, gradients, uplink)), parts


def gather_answers(features: Tensor, parts: Sequence[tuple[Sequence[int], Answered]]) -> Answer:
    """Lay what blocks answered to ``features`` ``[n, b, ...]`` side by side; with each part, its rows."""
    gradients = torch.zeros_like(features, memory_format=torch.contiguous_format)
    sums = torch.zeros(2, len(features), dtype=torch.float64, device=features.device)
    sizes = [0] * len(features)
    for rows, part in parts:
        places = list(rows)
        gradients[places] = receive(part.gradients).to(features.device)
        sums[:, places] = torch.stack([receive(part.loss), receive(part.correct)]).to(features.device)
        for place, size in zip(places, part.sizes, strict=True):
            sizes[place] = size
    return Answer(gradients, sums[0], sums[1], tuple(sizes))


def _average(shared: Average, gradients: Tensor, uplink: Uplink) -> Tensor:
    """Return the average ``[b, ...]`` as the active client with the longest batch receives it."""
    longest = max(shared.rows, key=lambda row: uplink.sizes[row])
    return gradients[longest, : uplink.sizes[longest]]
