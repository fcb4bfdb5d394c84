"""Every client gets the same number of samples of every class, to within one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sglr.core.data import Samples
from sglr.core.random import generator

__all__ = ["Balanced"]


@dataclass(frozen=True)
class Balanced:
    """Deal the shuffled samples of one class after the other round the clients, like cards.

    Clients' numbers of samples of a class, and their totals, differ by one at most.
    """

    def partition(self, samples: Samples, clients: int, seed: int) -> list[NDArray[np.int64]]:
        """Return the rows of every client."""
        shuffled = generator(seed, "partition").permutation(len(samples))
        by_class = shuffled[np.argsort(samples.targets.numpy()[shuffled], kind="stable")]
        return [by_class[client::clients] for client in range(clients)]
