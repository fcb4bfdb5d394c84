"""Every client has samples of only a few classes."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sglr.core.data import Samples
from sglr.core.errors import UsageError
from sglr.core.random import generator
from sglr.data.class_rows import class_rows, joined

__all__ = ["Pathological"]


@dataclass(frozen=True)
class Pathological:
    """Quantity-based label skew after Li et al., 2022 (arXiv 2102.02079).

    Client i gets class i modulo the number of classes, and further classes at random. The samples of a class
    are divided evenly among its clients; the samples of a class without clients are left out.
    """

    classes_per_client: int = field(default=2, metadata={"help": "classes per client; 1 or more"})

    def partition(self, samples: Samples, clients: int, seed: int) -> list[NDArray[np.int64]]:
        """Return the rows of every client.

        Raises
        ------
        UsageError
            If samples have no class, there are fewer classes than this, or a class has fewer samples than clients.
        """
        rows = class_rows(samples, self)
        classes = len(rows)
        if not 1 <= self.classes_per_client <= classes:
            problem = f"the samples have {classes} classes"
            raise UsageError("classes_per_client", self.classes_per_client, problem, f"give 1 to {classes}")
        rng = generator(seed, "partition")
        chosen = [self._choose(client % classes, classes, rng) for client in range(clients)]
        having = [[client for client in range(clients) if name in chosen[client]] for name in range(classes)]
        if any(len(own) < len(those) for own, those in zip(rows, having, strict=True)):
            problem = f"a class has fewer samples than clients (of {clients}) that need it"
            remedy = "give fewer classes per client or fewer clients"
            raise UsageError("classes_per_client", self.classes_per_client, problem, remedy)
        return joined([_share(own, those, clients) for own, those in zip(rows, having, strict=True)], rng)

    def _choose(self, first: int, classes: int, rng: np.random.Generator) -> list[int]:
        """Draw further classes one by one, as in flwr-datasets, whose partitions are reproduced here."""
        chosen = [first]
        while len(chosen) < self.classes_per_client:
            (another,) = rng.integers(classes, size=1).tolist()
            chosen += [another] if another not in chosen else []
        return chosen


def _share(rows: NDArray[np.int64], having: list[int], clients: int) -> list[NDArray[np.int64]]:
    """Divide the rows of a class evenly among the clients that have it."""
    parts = [rows[:0]] * clients
    for client, part in zip(having, np.array_split(rows, len(having)) if having else [], strict=True):
        parts[client] = part
    return parts
