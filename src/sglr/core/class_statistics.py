"""The distribution of smashed data by class: a Gaussian for each, folded together step by step, and draws from it."""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence

import numpy as np
import torch
from torch import Tensor

from sglr.core.types import Extent

MOST_FULL = 512
"""Numbers of a sample up to which all covariances are kept; of larger samples only variances are."""

RIDGE = 1e-5
"""Added to variances where samples are drawn, so that a covariance of few samples has a root."""

WEIGHTS, MEANS, SPREADS = "class.weights", "class.means", "class.spreads"
"""Names in a memory: weights ``[K]``, means ``[K, S]``, covariances ``[K, S, S]`` or variances ``[K, S]``."""


class ClassStatistics:
    """The weighted mean and covariance of all samples of each class that were folded in.

    Parameters
    ----------
    memory
        Where they are kept, in double precision: what a method keeps between steps.
    classes
        K, the number of classes.
    """

    def __init__(self, memory: MutableMapping[str, Tensor], classes: int) -> None:
        self._memory, self._classes = memory, classes

    @staticmethod
    def bytes(extent: Extent) -> int:
        """Return the bytes of what is kept."""
        values = extent.values
        return 8 * extent.classes * (1 + values + values * (values if values <= MOST_FULL else 1))

    @property
    def known(self) -> bool:
        """Whether there was a sample of every class."""
        return WEIGHTS in self._memory and bool((self._memory[WEIGHTS] > 0).all())

    def fold(self, samples: Tensor, labels: Tensor, weights: Tensor) -> None:
        """Fold in samples ``[n, ...]`` with classes ``[n]`` and weights ``[n]``, which are positive."""
        flat = samples.detach().flatten(1).double()
        if WEIGHTS not in self._memory:
            values = flat.shape[1]
            shape = (values, values) if values <= MOST_FULL else (values,)
            for name, each in ((WEIGHTS, ()), (MEANS, (values,)), (SPREADS, shape)):
                self._memory[name] = flat.new_zeros(self._classes, *each)
        for label in torch.unique(labels).tolist():
            mine = labels == label
            self._fold_class(label, flat[mine], weights[mine].double())

    def _fold_class(self, label: int, samples: Tensor, weights: Tensor) -> None:
        held, means, spreads = (self._memory[name] for name in (WEIGHTS, MEANS, SPREADS))
        total = weights.sum()
        mean = weights @ samples / total
        spread = _spread(samples - mean, weights / total)
        # Two Gaussians make one: the spread is that within each, and that of their means around the common one.
        shares = torch.stack([held[label], total]) / (held[label] + total)
        old_and_new = torch.stack([means[label], mean])
        common = shares @ old_and_new
        spreads[label] = shares[0] * spreads[label] + shares[1] * spread + _spread(old_and_new - common, shares)
        means[label] = common
        held[label] += total

    def filled(self, samples: Tensor, labels: Tensor, number: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Return samples ``[n, ...]`` and classes ``[n]`` with more drawn, so that each class has ``number`` or more.

        They stay as they are until all classes are known.
        """
        if not self.known:
            return samples, labels
        missing = (number - torch.bincount(labels, minlength=self._classes)).clamp(min=0)
        drawn, of_class = self.draw(missing.tolist(), rng)
        more = torch.unflatten(drawn, 1, samples.shape[1:]).to(samples)
        return torch.cat([samples, more]), torch.cat([labels, of_class])

    def draw(self, numbers: Sequence[int], rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Draw ``numbers[c]`` samples of each class c.

        Returns
        -------
        tuple of Tensor
            Samples ``[n, S]`` in double precision, and their classes ``[n]``.
        """
        means, spreads = self._memory[MEANS], self._memory[SPREADS]
        noise = torch.from_numpy(rng.standard_normal((sum(numbers), means.shape[1]))).to(means.device)
        drawn = [
            means[label] + _scaled(own, spreads[label])
            for label, own in enumerate(torch.split(noise, list(numbers)))
            if len(own)
        ]
        labels = torch.arange(self._classes).repeat_interleave(torch.tensor(numbers)).to(means.device)
        return torch.cat(drawn) if drawn else noise, labels


def _spread(offsets: Tensor, shares: Tensor) -> Tensor:
    """Return Σ_j shares_j offset_j offset_jᵀ of ``[n, S]``, or its diagonal where S is large."""
    if offsets.shape[1] <= MOST_FULL:
        return (offsets * shares[:, None]).T @ offsets
    return shares @ offsets.square()


def _scaled(noise: Tensor, spread: Tensor) -> Tensor:
    """Give standard normal numbers ``[n, S]`` a covariance."""
    if spread.dim() == 1:
        return noise * (spread + RIDGE).sqrt()
    ridge = RIDGE * torch.eye(len(spread), dtype=spread.dtype, device=spread.device)
    # Unlike `cholesky` it does not raise where smashed data are no numbers any more, which the loss then tells.
    root: Tensor = torch.linalg.cholesky_ex(spread + ridge).L
    return noise @ root.T
