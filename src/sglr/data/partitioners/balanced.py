"""Every client gets the same number of samples of every class (± 1)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sglr.core.data import Samples
from sglr.core.random import generator
from sglr.data.class_rows import class_numbers

__all__ = ["Balanced"]


@dataclass(frozen=True)
class Balanced:
    """Deal the shuffled samples of each class to the clients in turn, like cards.

    The clients' sample counts differ by at most one, for every class and in total.
    """

    def partition(self, samples: Samples, clients: int, seed: int) -> list[NDArray[np.int64]]:
        """Return the rows of every client.

        Raises
        ------
        UsageError
            If samples have no class.
        """
        shuffled = generator(seed, "partition").permutation(len(samples))
        by_class = shuffled[np.argsort(class_numbers(samples, self)[shuffled], kind="stable")]
        return [by_class[client::clients] for client in range(clients)]
