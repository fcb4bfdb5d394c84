"""How far a score of a test can be trusted: bootstrap intervals from the sums of parts of its samples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from sglr.core.random import generator
from sglr.core.task import Sums, Task

RESAMPLES = 1000
LEVEL = 0.95
MOST_VALUES = 2**22
"""Values of resampled sums that are held at once: 32 MB."""


def intervals(task: Task, parts: Sequence[Sums], seed: int) -> dict[str, tuple[float, float]]:
    """Return the 95 % interval of every score, averaged over clients, by a percentile bootstrap over parts of the test.

    The parts hold equally many samples, interleaved. As sums add up, a resample of the parts (Efron 1979, with parts
    for samples) has the sums of its parts, each as often as it was drawn. No sample is needed again.

    Parameters
    ----------
    task
        The one whose sums they are.
    parts
        The sums of each part, of which there are 100 at most; an interval needs two or more.
    seed
        Of the random draws.

    Returns
    -------
    dict
        The bounds of each score's interval by name; without those that no resample can tell.
    """
    if len(parts) < 2:
        return {}
    drawn = generator(seed, "bootstrap").multinomial(len(parts), np.full(len(parts), 1 / len(parts)), size=RESAMPLES)
    clients = next(len(value) for name, value in parts[0].items() if name not in task.pooled)
    counts, step = torch.from_numpy(drawn), _resamples_at_once(task, parts[0])
    found: dict[str, list[Tensor]] = {}
    for start in range(0, RESAMPLES, step):
        scores = task.scores(_resampled(task, parts, counts[start : start + step]))
        for name, values in scores.items():
            found.setdefault(name, []).append(values.double().cpu().reshape(-1, clients).nanmean(1))
    return {name: _bounds(kept) for name, means in found.items() if len(kept := _told(torch.cat(means)))}


def _resamples_at_once(task: Task, part: Sums) -> int:
    """Return how many resamples are scored as if they were clients."""
    values = sum(value.numel() for name, value in part.items() if name not in task.pooled)
    return max(1, MOST_VALUES // max(1, values))


def _resampled(task: Task, parts: Sequence[Sums], counts: Tensor) -> dict[str, Tensor]:
    """Return the sums of R resamples by how often each has every part ``[R, P]``, with ``R * n`` for n clients."""
    found = {}
    for name in parts[0].keys() - task.pooled:
        each = torch.stack([part[name] for part in parts])
        sums = counts.to(each.device, torch.float64) @ each.double().flatten(1)
        found[name] = sums.reshape(-1, *each.shape[2:]).to(torch.float64 if each.is_floating_point() else each.dtype)
    return found


def _told(means: Tensor) -> Tensor:
    return means[~means.isnan()]


def _bounds(means: Tensor) -> tuple[float, float]:
    outside = (1 - LEVEL) / 2
    low, high = np.quantile(means.numpy(), [outside, 1 - outside])
    return float(low), float(high)
