"""A few whitened principal components of many values, fitted on some samples and applied to others.

Images have hundreds of values and smashed data thousands, more than there are samples; no critic and no binning learns
from these what they share. A projection can only lose information (data-processing inequality), so that a lower bound
on what is left is one on what was there.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sglr.core.random import key

NEGLIGIBLE = 1e-4
"""Components whose spread is below this part of the first one's are rounding errors, or nearly dead units."""

SMALL = 256
"""Rows or columns up to which the whole decomposition is quick."""


@dataclass(frozen=True)
class Projection:
    """Project rows ``[n, d]`` on principal components of unit variance, ``[n, k]``.

    Parameters
    ----------
    mean
        ``[d]``, taken away first.
    directions
        ``[d, k]``, orthogonal, each divided by the standard deviation along it.
    """

    mean: Tensor
    directions: Tensor

    def __call__(self, rows: Tensor) -> Tensor:
        """Return the components of other rows."""
        return (rows.double() - self.mean) @ self.directions


def fit_projection(rows: Tensor, dimensions: int, seed: int) -> Projection:
    """Fit the first ``dimensions`` principal components, or as many as there are.

    Parameters
    ----------
    rows
        Samples ``[n, d]``, not all the same.
    dimensions
        How many components at most.
    seed
        Seed of the randomised decomposition of large matrices.
    """
    rows = rows.double()
    mean = rows.mean(0)
    centred, wanted = rows - mean, min(dimensions, *rows.shape)
    if min(rows.shape) <= max(4 * wanted, SMALL):
        spread, directions = _decomposed(centred)
    else:
        from sklearn.utils.extmath import randomized_svd  # seconds that small matrices need not wait for

        state = key(seed, "projection") % 2**32
        _, found, vectors = randomized_svd(centred.cpu().numpy(), wanted, n_iter=4, random_state=state)
        spread, directions = (torch.from_numpy(each).to(rows) for each in (found, vectors))
    kept = (spread > NEGLIGIBLE * spread[0])[:wanted].sum()
    deviation = spread[:kept] / (len(rows) - 1) ** 0.5
    return Projection(mean, (directions[:kept] / deviation[:, None]).T)


def _decomposed(centred: Tensor) -> tuple[Tensor, Tensor]:
    """Return singular values ``[k]``, descending, and right singular vectors ``[k, d]``, by the smaller second moments.

    Roots of eigenvalues lose half of the digits, which leaves four more than `NEGLIGIBLE` asks for, and cost a third of
    the whole decomposition.
    """
    wide = centred.shape[0] < centred.shape[1]
    values, vectors = torch.linalg.eigh(centred @ centred.T if wide else centred.T @ centred)
    spread = values.flip(0).clamp(min=0).sqrt()
    directions = vectors.flip(1).T
    if wide:
        directions = directions @ centred / spread.clamp(min=torch.finfo(spread.dtype).tiny)[:, None]
    return spread, directions


def normal_scores(fitted: Tensor, values: Tensor) -> Tensor:
    """Replace values ``[m, k]`` by the normal quantiles of their ranks among fitted ones ``[n, k]``, column by column.

    Mutual information doesn't see such a map of every column, as it grows with its argument; a critic does, whose
    partition function one outlier would decide otherwise. Equal values share the middle of their ranks.
    """
    columns, wanted = fitted.T.sort(1).values.contiguous(), values.T.contiguous()
    below, above = (torch.searchsorted(columns, wanted, side=side) for side in ("left", "right"))
    ranks = (below + above + 1) / 2
    scores: Tensor = torch.special.ndtri(ranks.double() / (len(fitted) + 1))
    return scores.T
