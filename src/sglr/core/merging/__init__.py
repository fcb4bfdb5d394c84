"""Weights that clients share: the rules that merge them, and the exchange of them in a training."""

from __future__ import annotations

from sglr.core.merging.merge_rule import MergeRule, Merging, median, middle_mean

__all__ = ["MergeRule", "Merging", "median", "middle_mean"]
