"""Scores of clients' segments with the server's on the same samples, as many at a time as fit the cache."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sglr.core.codec import Codec
from sglr.core.data import Samples
from sglr.core.scores import ClassCounts, Scores
from sglr.parties.spec import ClientSpec
from sglr.stacking.stack import Stack

EVALUATION_VALUES = {"cpu": 1 << 21, "cuda": 1 << 26}
"""Cut-layer values of one evaluation batch over all clients; on a CPU they should stay in its cache."""


def score(
    seats: Callable[[slice], tuple[Stack, tuple[int, ...]]],
    ids: Sequence[int],
    server: nn.Module,
    samples: Samples,
    spec: ClientSpec,
) -> Scores:
    """Score clients.

    Parameters
    ----------
    seats
        Gives the stack and the rows of some of the clients; asked for a few at a time, in order.
    ids
        Their numbers, n of them.
    server
        The server's segment, on the stack's device.
    samples
        m samples, anywhere.
    spec
        Theirs: how smashed data are written, and the defences, which disguise what is sent for scoring, too.

    Returns
    -------
    Scores
        Of every client, ``[n]``.
    """
    server.eval()
    clients = len(ids)
    stack, rows = seats(slice(0, 1))
    device = stack.device
    losses = torch.zeros(clients, dtype=torch.float64, device=device)
    # Where clients hold the whole model, the cut says nothing about the size of activations; inputs say a little.
    at_cut = stack.predict(rows, samples.inputs[:1].to(device)).numel()
    budget = max(1, EVALUATION_VALUES[device.type] // max(at_cut, samples.inputs[0].numel()))
    group = min(clients, max(1, budget // 64))
    per_batch = min(len(samples), max(1, budget // group))
    counts: ClassCounts | None = None
    with torch.no_grad():
        for start in range(0, clients, group):
            chosen = slice(start, min(start + group, clients))
            stack, rows = seats(chosen)
            for first in range(0, len(samples), per_batch):
                inputs = samples.inputs[first : first + per_batch].to(device)
                labels = samples.targets[first : first + per_batch].to(device)
                smashed = spec.defences.scored(_smashed(stack, rows, inputs), ids[chosen], first)
                logits = _logits(stack, rows, server, smashed, spec.codec)
                wanted = labels.expand(len(logits), -1)
                counts = ClassCounts.none(clients, logits.shape[2], device) if counts is None else counts
                counts.add(chosen, logits.argmax(2), labels)
                each = F.cross_entropy(logits.flatten(0, 1), wanted.flatten(), reduction="none")
                losses[chosen] += torch.unflatten(each, 0, wanted.shape).sum(1)
    assert counts is not None, "there are clients and samples"
    counts = ClassCounts(**counts.tensors())
    return Scores(counts.right.sum(1).double() / len(samples), losses.cpu() / len(samples), counts)


def _smashed(stack: Stack, rows: tuple[int, ...], inputs: Tensor) -> Tensor:
    """Smashed data ``[n, m, ...]`` of m samples through every row."""
    if inputs.dim() == 4:
        inputs = inputs.contiguous(memory_format=torch.channels_last)
    return stack.predict(rows, inputs)


def _logits(stack: Stack, rows: tuple[int, ...], server: nn.Module, smashed: Tensor, codec: Codec) -> Tensor:
    """Logits ``[n, m, K]`` of what m samples are on every row's side of the cut, through the server's segment."""
    flat = codec.received(smashed.flatten(0, 1))
    if flat.dim() == 4:
        flat = flat.contiguous(memory_format=torch.channels_last)
    precision = stack.runner.precision
    with precision.mixed(stack.device):
        outputs = precision.single(server(flat))
    own = torch.unflatten(outputs, 0, smashed.shape[:2])
    return own if stack.tail is None else stack.tail.predict(rows, own)
