"""The mean, weighted by numbers of samples (FedAvg): a single client can shift it arbitrarily."""

from __future__ import annotations

from dataclasses import dataclass

from sglr.core.merging import MergeRule

__all__ = ["Mean"]


@dataclass(frozen=True)
class Mean(MergeRule):
    """w ← Σ_i δ_i w_i with δ_i = |D_i| / |D| (McMahan et al., 2017, arXiv 1602.05629; the paper's eq. 8 and 10)."""
