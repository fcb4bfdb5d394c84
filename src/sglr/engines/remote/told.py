"""What a client that keeps its labels tells of its held-out samples; the rest it keeps to itself.

A count by class would tell how many samples of each class a client has, and so would some scores with all their
digits: an AUROC is a fraction of the pairs of a positive and a negative sample.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from sglr.core.events import TrainMetrics
from sglr.core.task import Sums, Targets, Task, score_names

DIGITS = 4
"""Significant digits of a score that is told."""


@dataclass(frozen=True)
class HeldOutTally(TrainMetrics):
    """Sums over some held-out samples; with the last of them, the scores of all.

    Parameters
    ----------
    scores
        By name, as `told` gives them; empty before the last samples.
    """

    scores: Mapping[str, float] = field(default_factory=dict)


def told_names(task: Task, targets: Targets) -> tuple[str, ...]:
    """Return the names of the scores that clients tell beside sums of losses and hits, which are always told.

    Classification's accuracy is made of hits, and its other scores are averages over classes.
    """
    return () if task.counts_classes else tuple(score_names(task, targets))


def told(task: Task, sums: Sums) -> dict[str, float]:
    """Return the scores of one client as it tells them, by its sums ``[1, ...]``."""
    if task.counts_classes:
        return {}
    return {name: rounded(float(values[0])) for name, values in task.scores(sums).items()}


def rounded(score: float) -> float:
    """Return a score with `DIGITS` significant digits; NaN if it is not finite."""
    return float(f"{score:.{DIGITS}g}") if math.isfinite(score) else math.nan
