"""The weighted mean of norm-bounded updates: no client moves the shared weights by more than the bound."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from sglr.core.errors import UsageError
from sglr.core.merging import MergeRule, Merging, median
from sglr.core.weights import Weights, weighted_mean

__all__ = ["NormBound"]


@dataclass(frozen=True)
class NormBound(MergeRule):
    """w ← w' + Σ_i δ_i Δ_i / max(1, ‖Δ_i‖₂ / M), where Δ_i = w_i − w' (Sun et al., 2019, arXiv 1911.07963).

    w' are the last shared weights, and M is ``norm_bound``. ``norm_bound`` = none takes the median of the ‖Δ_i‖₂ of the
    merged clients, which is our addition: it needs no tuning and bounds at most half of them. δ_i are shares of
    samples, as in FedAvg: a client that claims more samples counts more, and moves the shared weights by at most δ_i M.

    Δ_i covers the trained weights of the whole segment. Buffers are not updates: their norm is meaningless, and
    bounding it would keep batch statistics from following the data. They are merged by the median over the clients.

    Raises
    ------
    UsageError
        If the bound is not a positive number.
    """

    norm_bound: float | None = field(
        default=None,
        metadata={
            "help": "largest L2 norm of a client's update, M; none takes the median of the merged clients' norms"
        },
    )

    def __post_init__(self) -> None:
        """Refuse a bound that is not a positive number."""
        if self.norm_bound is not None and not 0 < self.norm_bound < math.inf:
            remedy = "give a number above 0, or none for the median of the norms"
            raise UsageError("norm_bound", self.norm_bound, "is not a positive number", remedy)

    @property
    def fewest(self) -> int:
        """Three if the bound is the median of the norms: with two clients, each would influence the other's bound."""
        return 3 if self.norm_bound is None else 1

    def merge(self, weights: Weights, merging: Merging) -> Weights:
        """Return the mean of bounded updates, and the medians of buffers."""
        trained = {name: tensor for name, tensor in weights.items() if _is_update(name, tensor, merging)}
        factors = self._factors(_norms(trained, merging))
        merged: dict[str, Tensor] = {}
        for name, tensor in weights.items():
            if name not in trained:
                merged[name] = median(tensor)
                continue
            # Unlike w' + f Δ, this is bit-identical to w_i if f = 1.
            bounded = torch.lerp(_last(name, tensor, merging), tensor, _by_row(factors, tensor))
            merged |= weighted_mean({name: bounded}, merging.shares)
        return merged

    def _factors(self, norms: Tensor) -> Tensor:
        """Return the factor of each update, 1 / max(1, ‖Δ_i‖₂ / M), ``[n]``."""
        bound = median(norms) if self.norm_bound is None else norms.new_tensor(self.norm_bound)
        return torch.where(norms > bound, bound / norms, torch.ones_like(norms))


def _is_update(name: str, tensor: Tensor, merging: Merging) -> bool:
    return name not in merging.buffers and tensor.is_floating_point()


def _norms(weights: Weights, merging: Merging) -> Tensor:
    """Return ‖Δ_i‖₂ over all tensors ``[n, ...]`` together, ``[n]``, in double precision."""
    total = torch.zeros(len(merging.clients), dtype=torch.float64)
    for name, tensor in weights.items():
        moved = (tensor - _last(name, tensor, merging)).reshape(len(tensor), -1)
        total += torch.linalg.vector_norm(moved, dim=1, dtype=torch.float64).square().cpu()
    return total.sqrt()


def _last(name: str, tensor: Tensor, merging: Merging) -> Tensor:
    return merging.last[name].to(tensor)


def _by_row(factors: Tensor, tensor: Tensor) -> Tensor:
    return factors.to(tensor).reshape(-1, *(1,) * (tensor.dim() - 1))
