"""Scores of clients' segments with the server's on the same samples, as many at a time as fit the cache."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from sglr.core.codec import Codec
from sglr.core.data import Samples
from sglr.core.scores import Scores, added, side_by_side
from sglr.core.task import Sums, Task
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
    parts: int = 1,
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
        Theirs: the task, how smashed data are written, and the defences, which disguise what is sent for scoring, too.
    parts
        P: the sums of samples i, i + P, i + 2P … are kept apart for each i.

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
    kept: list[list[Sums]] = [[] for _ in range(parts)]
    with torch.no_grad():
        for start in range(0, clients, group):
            chosen = slice(start, min(start + group, clients))
            stack, rows = seats(chosen)
            own: list[list[Sums]] = [[] for _ in range(parts)]
            for first in range(0, len(samples), per_batch):
                inputs = samples.inputs[first : first + per_batch].to(device)
                targets = samples.targets[first : first + per_batch].to(device)
                smashed = spec.defences.scored(_smashed(stack, rows, inputs), ids[chosen], first)
                outputs = _outputs(stack, rows, server, smashed, spec.codec.of_cut(0))
                wanted = targets.expand(len(outputs), *targets.shape)
                each = spec.task.test_losses(outputs.flatten(0, 1), wanted.flatten(0, 1))
                losses[chosen] += torch.unflatten(each, 0, wanted.shape[:2]).sum(1)
                add_parts(spec.task, own, outputs, targets, first)
            for all_groups, sums in zip(kept, own, strict=True):
                if sums:
                    all_groups.append({name: tensor.cpu() for name, tensor in added(sums).items()})
    whole = [side_by_side(sums, spec.task) for sums in kept if sums]
    return Scores.of(spec.task, losses.cpu() / len(samples), whole)


def add_parts(task: Task, parts: Sequence[list[Sums]], outputs: Tensor, targets: Tensor, first: int) -> None:
    """Add the sums of samples from ``first`` on to those of their parts: sample i belongs to part i modulo P.

    Parameters
    ----------
    task
        Whose sums they are.
    parts
        The sums of each part so far.
    outputs
        ``[n, m, ...]``.
    targets
        ``[m, ...]``.
    first
        The place of the first of these m samples.
    """
    for part, sums in enumerate(parts):
        begin = (part - first) % len(parts)
        if begin < len(targets):
            sums.append(task.sums(outputs[:, begin :: len(parts)], targets[begin :: len(parts)]))


def _smashed(stack: Stack, rows: tuple[int, ...], inputs: Tensor) -> Tensor:
    """Smashed data ``[n, m, ...]`` of m samples through every row."""
    if inputs.dim() == 4:
        inputs = inputs.contiguous(memory_format=torch.channels_last)
    return stack.predict(rows, inputs)


def _outputs(stack: Stack, rows: tuple[int, ...], server: nn.Module, smashed: Tensor, codec: Codec) -> Tensor:
    """Outputs ``[n, m, ...]`` of what m samples are on every row's side of the cut, through the server's segment."""
    flat = codec.received(smashed.flatten(0, 1))
    if flat.dim() == 4:
        flat = flat.contiguous(memory_format=torch.channels_last)
    precision = stack.runner.precision
    with precision.mixed(stack.device):
        outputs = precision.single(server(flat))
    own = torch.unflatten(outputs, 0, smashed.shape[:2])
    return own if stack.tail is None else stack.tail.predict(rows, own)
