"""The median of every weight over the clients: a minority can't move it out of the other clients' range."""

from __future__ import annotations

from dataclasses import dataclass

from sglr.core.merging import MergeRule, Merging, median
from sglr.core.weights import Weights

__all__ = ["Median"]


@dataclass(frozen=True)
class Median(MergeRule):
    """w_j ← med_i w_ij for every coordinate j (Yin et al., 2018, arXiv 1803.01498, definition 1).

    For an even number of clients it is the mean of the two middle values. All clients count equally: the paper has
    no client weights, and clients could claim false numbers of samples. Buffers are treated like weights.
    """

    @property
    def fewest(self) -> int:
        """Three: with two clients, the median is the mean."""
        return 3

    def merge(self, weights: Weights, merging: Merging) -> Weights:
        """Return the median of each coordinate of ``[n, ...]``."""
        del merging
        return {name: median(tensor) for name, tensor in weights.items()}
