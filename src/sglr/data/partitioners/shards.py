"""Samples sorted by class and cut into shards; every client gets a few shards at random."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sglr.core.data import Samples
from sglr.core.errors import UsageError
from sglr.core.random import generator
from sglr.data.class_rows import class_numbers

__all__ = ["Shards"]


@dataclass(frozen=True)
class Shards:
    """Shards of equal size after McMahan et al., 2017 (arXiv 1602.05629); a remainder is left out."""

    shards_per_client: int = field(default=2, metadata={"help": "shards per client; 1 or more"})

    def partition(self, samples: Samples, clients: int, seed: int) -> list[NDArray[np.int64]]:
        """Return the rows of every client.

        Raises
        ------
        UsageError
            If samples have no class, or there are fewer samples than shards.
        """
        if self.shards_per_client < 1:
            raise UsageError(
                "shards_per_client", self.shards_per_client, "each client needs at least one shard", "give 1 or more"
            )
        if self.shards_per_client * clients > len(samples):
            problem = f"{clients} clients need more shards than there are samples ({len(samples)})"
            remedy = f"give {len(samples) // clients} or fewer, or fewer clients"
            raise UsageError("shards_per_client", self.shards_per_client, problem, remedy)
        rng, number = generator(seed, "partition"), self.shards_per_client * clients
        size = len(samples) // number
        by_class = np.argsort(class_numbers(samples, self), kind="stable")
        # As in flwr-datasets, whose partitions are reproduced here, a remainder of whole shards may be drawn, too.
        shards = by_class[: len(samples) // size * size].reshape(-1, size)
        drawn = rng.permutation(len(shards))[:number].reshape(clients, -1)
        rows = [shards[own].ravel() for own in drawn]
        for own in rows:
            rng.shuffle(own)
        return rows
