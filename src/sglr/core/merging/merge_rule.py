"""The merge-rule protocol: how the weights of several clients are combined, and the means that rules are built from.

A rule is a frozen dataclass; its fields are its parameters, as a method's are. Adding one is one file in
``sglr/merge_rules``. All rules are deterministic, and see the weights of everyone who is merged at once.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sglr.core.weights import Weights, weighted_mean

WORKSPACE = 1 << 21
"""Numbers that are sorted at once: whatever the size of the weights, sorting takes some 50 MB beside them."""


@dataclass(frozen=True)
class MergeRule:
    """Combines the weights of several clients; by default their weighted mean."""

    @property
    def fewest(self) -> int:
        """The fewest clients that the rule needs."""
        return 1

    def merge(self, weights: Weights, merging: Merging) -> Weights:
        """Return the combined weights, from which all clients continue.

        Parameters
        ----------
        weights
            Weights and buffers of those who are merged, each ``[n, ...]``.
        merging
            Who they are, and what they began with.

        Returns
        -------
        Weights
            Each ``[...]``, of the same type.
        """
        return weighted_mean(weights, merging.shares)


@dataclass(frozen=True)
class Merging:
    """The inputs of a merge, beside the weights.

    Parameters
    ----------
    rule
        The rule.
    clients
        Who is merged, n ids.
    shares
        δ_i = |D_i| / |D| over them, ``[n]``, summing to one.
    last
        The weights ``[...]`` that were shared last, from which they began.
    buffers
        Names of tensors that are not trained, such as batch statistics.
    """

    rule: MergeRule
    clients: tuple[int, ...]
    shares: Tensor
    last: Weights
    buffers: AbstractSet[str] = frozenset()

    @property
    def too_few(self) -> str:
        """Why nothing is merged: fewer clients are present than the rule needs; empty if they are enough."""
        present, fewest = len(self.clients), self.rule.fewest
        return "" if present >= fewest else f"{self.rule} needs {fewest} clients, and {present} are present"

    def merge(self, weights: Weights) -> Weights:
        """Return what becomes of ``weights``, each ``[n, ...]``: of too few clients, the weights that were shared last.

        Else whoever makes others late would do away with the rule.
        """
        return self.last if self.too_few else self.rule.merge(weights, self)


def middle_mean(tensor: Tensor, trimmed: int) -> Tensor:
    """Average each coordinate of ``[n, ...]`` over n without its ``trimmed`` smallest and largest values.

    Every one counts alike. Sums are in double precision, so that single-precision values which agree are their own mean
    to the last bit, in any order. Integers take the rounded mean. NaN counts as the largest value.

    Parameters
    ----------
    tensor
        Values ``[n, ...]``, n > 2 · ``trimmed``.
    trimmed
        Values that are left out at either end.
    """
    rows = tensor.flatten(1) if tensor.dim() > 1 else tensor[:, None]
    merged = torch.empty(rows.shape[1], dtype=tensor.dtype, device=tensor.device)
    width = max(1, WORKSPACE // len(rows))
    for first in range(0, rows.shape[1], width):
        ordered = _sorted(rows[:, first : first + width].T.contiguous())
        mean = ordered[:, trimmed : len(rows) - trimmed].to(torch.float64).mean(dim=1)
        merged[first : first + width] = mean if tensor.is_floating_point() else mean.round()
    return merged.reshape(tensor.shape[1:])


def _sorted(rows: Tensor) -> Tensor:
    """Sort each row of ``[m, n]``, NaN last; on a CPU by NumPy, which takes a third to an eighth of the time."""
    if rows.device.type == "cpu" and rows.dtype != torch.bfloat16:  # which NumPy does not know
        return torch.from_numpy(np.sort(rows.detach().numpy(), axis=1))
    return rows.sort(dim=1).values


def median(tensor: Tensor) -> Tensor:
    """Return each coordinate's median over n, of ``[n, ...]``; of an even number, the mean of the two in the middle."""
    return middle_mean(tensor, (len(tensor) - 1) // 2)
