"""Every client gets a random sample of the whole (independent and identically distributed)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sglr.core.data import Samples
from sglr.core.random import generator

__all__ = ["Iid"]


@dataclass(frozen=True)
class Iid:
    """Shuffle the samples and cut them into parts whose sizes differ by at most one."""

    def partition(self, samples: Samples, clients: int, seed: int) -> list[NDArray[np.int64]]:
        """Return the rows of every client."""
        return np.array_split(generator(seed, "partition").permutation(len(samples)), clients)
