"""The mean of every weight without its smallest and largest values over the clients."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from sglr.core.errors import UsageError
from sglr.core.merging import MergeRule, Merging, middle_mean
from sglr.core.weights import Weights

__all__ = ["TrimmedMean"]

ROUNDING = 1e-9
"""Tolerance for rounding errors: 0.29 · 100 is 28.999999999999996."""

LEAST = 1e-6
"""A smaller share would trim no value even with a million clients."""


@dataclass(frozen=True)
class TrimmedMean(MergeRule):
    """w_j ← mean of the w_ij left without the ⌊βn⌋ smallest and ⌊βn⌋ largest (Yin et al., 2018, arXiv 1803.01498).

    Their definition 2, for every coordinate j of n clients. Up to ⌊βn⌋ clients can't move a weight out of the others'
    range. All clients count equally: the paper has no client weights, and clients could claim false numbers of samples.
    Buffers are treated like weights.

    Raises
    ------
    UsageError
        If ``trimmed_share`` (β) trims nothing or everything.
    """

    trimmed_share: float = field(
        default=0.2,
        metadata={"help": "fraction of the clients whose values are left out at either end, above 0 and below 0.5"},
    )

    def __post_init__(self) -> None:
        """Refuse shares that trim nothing, or all."""
        if not LEAST <= self.trimmed_share < 0.5:
            problem = "trims everything" if self.trimmed_share >= 0.5 else "trims nothing"
            raise UsageError("trimmed_share", self.trimmed_share, problem, "give a number between 0 and 0.5")

    def trimmed(self, clients: int) -> int:
        """Return how many values are left out at either end for this many clients: ⌊βn⌋."""
        return math.floor(self.trimmed_share * clients + ROUNDING)

    @property
    def fewest(self) -> int:
        """The smallest n for which a value is trimmed."""
        return math.ceil(1 / self.trimmed_share - ROUNDING)

    def merge(self, weights: Weights, merging: Merging) -> Weights:
        """Return the trimmed mean of each coordinate of ``[n, ...]``."""
        trimmed = self.trimmed(len(merging.clients))
        return {name: middle_mean(tensor, trimmed) for name, tensor in weights.items()}
