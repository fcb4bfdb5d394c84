"""Whether samples can tell a score: AUROC needs both classes, recall a positive sample.

torchmetrics gives 0 there, which counts against a client that was not at fault.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from torchmetrics import Metric

Counts = Mapping[str, Tensor]
"""Samples of each client ``[n]``, or of each class ``[n, K]``: ``positive`` and ``negative`` in truth, ``called``."""

_KINDS = ("Binary", "Multiclass", "Multilabel")
_NEEDS: Mapping[str, Callable[[Counts], Tensor]] = {
    **{f"{kind}AUROC": lambda counts: (counts["positive"] > 0) & (counts["negative"] > 0) for kind in _KINDS},
    **{f"{kind}AveragePrecision": lambda counts: counts["positive"] > 0 for kind in _KINDS},
    "BinaryRecall": lambda counts: counts["positive"] > 0,
    "BinarySpecificity": lambda counts: counts["negative"] > 0,
    "BinaryPrecision": lambda counts: counts["called"] > 0,
    "BinaryF1Score": lambda counts: counts["positive"] + counts["called"] > 0,
    "BinaryFBetaScore": lambda counts: counts["positive"] + counts["called"] > 0,
}
"""What a metric needs, by its class's name."""


def tellable(metric: Metric, states: Mapping[str, Tensor]) -> Tensor:
    """Return whether each of n clients has samples that tell a metric, by its states ``[n, ...]``.

    Returns
    -------
    Tensor
        bool ``[n]``; of curves of K classes ``[n, K]``.
    """
    seen = torch.stack([state.flatten(1).any(1) if state.dim() > 1 else state.bool() for state in states.values()])
    needed = next((_NEEDS[kind.__name__] for kind in type(metric).__mro__ if kind.__name__ in _NEEDS), None)
    return seen.any(0) if needed is None else needed(_counts(states))


def _counts(states: Mapping[str, Tensor]) -> Counts:
    if "confmat" in states:  # [n, thresholds, (K,) truth, prediction]
        negative, positive = states["confmat"][:, 0].sum(-1).unbind(-1)
        return {"positive": positive, "negative": negative}
    right, wrong, missed, passed = (states[name].flatten(1).sum(1) for name in ("tp", "fp", "fn", "tn"))
    return {"positive": right + missed, "negative": wrong + passed, "called": right + wrong}
