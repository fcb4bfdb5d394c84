"""How well scores rank positive samples above negative ones: ROC and precision-recall curves from counts per threshold.

torchmetrics counts the same (``BinaryAUROC(thresholds=...)``), in time and memory that grow with samples times
thresholds and one client at a time. Here each sample is counted once, of all clients in one call; a test holds the
areas against torchmetrics'.
"""

from __future__ import annotations

import math
from functools import cache

import torch
from torch import Tensor

THRESHOLDS = 201
LARGEST = 50.0
"""The thresholds are logits from -50 to 50, 0.05 apart about 0 and 2.3 at the ends: so they tell samples apart for
networks that are sure of nothing, and for those that are sure of all."""


@cache
def thresholds_with(probability: float | None = None) -> tuple[float, ...]:
    """Return the thresholds as logits, ascending; with that of a probability, if it is not one of them yet."""
    reach = math.asinh(LARGEST)
    half = (THRESHOLDS - 1) // 2
    grid = [math.sinh(reach * place / half) for place in range(-half, half + 1)]
    if probability is None:
        return tuple(grid)
    wanted = logit(probability)
    near = min(abs(wanted - one) for one in grid) < 1e-6 * max(1, abs(wanted))
    # A probability close to 1 is rounded so far that its logit is no longer near the threshold that it was made of.
    known = near or probability in map(probability_of, grid)
    return tuple(grid if known else sorted([*grid, wanted]))


def logit(probability: float) -> float:
    """Return log(p / (1 - p))."""
    return math.log(probability) - math.log1p(-probability)


def probability_of(threshold: float) -> float:
    """Return the probability of a threshold, which is 1 from about 37 on."""
    return 1 / (1 + math.exp(-threshold))


def place_of(probability: float, thresholds: tuple[float, ...]) -> int:
    """Return which of the thresholds is that of a probability."""
    wanted = logit(probability)
    return min(range(len(thresholds)), key=lambda place: abs(thresholds[place] - wanted))


@cache
def threshold_of(probability: float) -> float:
    """Return the threshold at which samples are counted for a probability, as a logit."""
    thresholds = thresholds_with(probability)
    return thresholds[place_of(probability, thresholds)]


def count_logits(logits: Tensor, truth: Tensor, thresholds: tuple[float, ...]) -> Tensor:
    """Count samples by truth and by how many thresholds their logit reaches.

    Parameters
    ----------
    logits
        ``[n, m, L]``, of L labels of m samples by n clients.
    truth
        ``[m, L]``: 1 for positive, 0 for negative, -1 for not known, which is not counted.

    Returns
    -------
    Tensor
        int32 ``[n, L, 2, T + 1]``; int32, because there are many.
    """
    edges = torch.tensor(thresholds, dtype=logits.dtype, device=logits.device)
    reached = torch.bucketize(logits.detach().contiguous(), edges, right=True)
    clients, _, labels = logits.shape
    bins = len(thresholds) + 1
    rows = torch.arange(clients * labels, device=logits.device).view(clients, 1, labels)
    places = (rows * 2 + truth.clamp(min=0).long()) * bins + reached
    counts = torch.zeros(clients * labels * 2 * bins, dtype=torch.int32, device=logits.device)
    counts.scatter_add_(0, places.flatten(), (truth >= 0).int().expand_as(places).flatten())
    return counts.view(clients, labels, 2, bins)


def called(counts: Tensor) -> Tensor:
    """Return the samples that are called positive at every threshold, negative and positive ones, ``[..., 2, T + 2]``.

    From counts ``[..., 2, T + 1]``. In the first column all are; the last is for a threshold that no sample reaches.
    """
    at_least = counts.double().flip(-1).cumsum(-1).flip(-1)
    return torch.nn.functional.pad(at_least, (0, 1))


def auroc(counts: Tensor) -> Tensor:
    """Return the area under the ROC curve of counts ``[..., 2, T + 1]``, ``[...]``; NaN where a class is absent."""
    wrong, right = called(counts).unbind(-2)
    area = torch.trapezoid(right.flip(-1), wrong.flip(-1))
    return area / (wrong[..., 0] * right[..., 0])


def average_precision(counts: Tensor) -> Tensor:
    """Return the average precision, the precision averaged over steps of recall; NaN without positive samples."""
    wrong, right = called(counts).unbind(-2)
    precision = right / (right + wrong).clamp(min=1)
    return (-right.diff(dim=-1) * precision[..., :-1]).sum(-1) / right[..., 0]


def confusion_at(counts: Tensor, place: int) -> Tensor:
    """Return samples by truth and call at one of the thresholds ``[..., 2, 2]``, from counts ``[..., 2, T + 1]``."""
    positive = counts[..., place + 1 :].sum(-1)
    return torch.stack([counts.sum(-1) - positive, positive], -1).long()


def roc_points(counts: Tensor) -> dict[str, list[float]] | None:
    """Return the ROC curve of counts ``[2, T + 1]`` as reports draw it; None if a class is absent."""
    reached = called(counts).flip(-1)
    if not bool((reached[:, -1] > 0).all()):
        return None
    shares = torch.unique_consecutive(reached / reached[:, -1:], dim=1)
    return dict(zip(("false_positive_rate", "true_positive_rate"), shares.tolist(), strict=True))


def best_threshold(counts: Tensor, thresholds: tuple[float, ...], criterion: str) -> float | None:
    """Return the probability at which a criterion is highest, by counts ``[2, T + 1]``; None if a class is absent.

    Parameters
    ----------
    criterion
        ``"youden"``: recall + specificity - 1 (Youden, 1950), or ``"f1"``: 2 · right / (positive + called positive).

    Notes
    -----
    Of several that are equally good, the middle one: no sample of the next set shall decide by chance. If the
    probability of that one is rounded to 1, which is no threshold, the best of those below.
    """
    wrong, right = called(counts)[:, 1:-1]
    negative, positive = counts.sum(1).double()
    if not (negative > 0 and positive > 0):
        return None
    values = right / positive - wrong / negative if criterion == "youden" else 2 * right / (positive + right + wrong)
    below = [probability for probability in map(probability_of, thresholds) if probability < 1]
    chosen = _middle_of_best(values)
    return below[chosen if chosen < len(below) else _middle_of_best(values[: len(below)])]


def _middle_of_best(values: Tensor) -> int:
    best = (values >= values.max() - 1e-12).nonzero().flatten()
    return int(best[len(best) // 2])
