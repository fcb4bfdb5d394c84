"""Every client's share of each class is drawn from a Dirichlet distribution."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sglr.core.data import Samples
from sglr.core.errors import UsageError
from sglr.core.random import generator
from sglr.data.class_rows import class_rows, joined

__all__ = ["Dirichlet"]

DRAWS = 11
"""Most draws until every client has a sample; as in flwr-datasets, whose partitions are reproduced here."""


@dataclass(frozen=True)
class Dirichlet:
    """Label skew after Yurochkin et al., 2019 (arXiv 1905.12022)."""

    concentration: float = field(default=0.5, metadata={"help": "the smaller, the more uneven; above 0"})

    def partition(self, samples: Samples, clients: int, seed: int) -> list[NDArray[np.int64]]:
        """Return the rows of every client.

        Raises
        ------
        UsageError
            If samples have no class, the concentration is not positive, or so small that a client gets no samples.
        """
        if not 0 < self.concentration < float("inf"):
            remedy = "give a number above 0, such as 0.5"
            raise UsageError("concentration", self.concentration, "not a positive number", remedy)
        rng, rows = generator(seed, "partition"), class_rows(samples, self)
        for _ in range(DRAWS):
            parts = [self._divide(own, clients, rng) for own in rows]
            if all(sum(map(len, of_client)) for of_client in zip(*parts, strict=True)):
                return joined(parts, rng)
        problem = f"{DRAWS} draws each left some of the {clients} clients without any of the {len(samples)} samples"
        remedy = "give a larger concentration or fewer clients"
        raise UsageError("concentration", self.concentration, problem, remedy)

    def _divide(self, rows: NDArray[np.int64], clients: int, rng: np.random.Generator) -> list[NDArray[np.int64]]:
        """Cut the rows of one class by drawn shares; a share that is not finite counts as 0."""
        shares = np.nan_to_num(rng.dirichlet(np.full(clients, float(self.concentration))))
        return np.split(rows, (np.cumsum(shares) * len(rows)).astype(int)[:-1])
