"""Every client has samples of a few classes only."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sglr.core.data import Samples
from sglr.core.errors import UsageError
from sglr.data.flower import LABEL, divide, flower_seed

__all__ = ["Pathological"]


@dataclass(frozen=True)
class Pathological:
    """Quantity-based label skew after Li et al., 2022 (arXiv 2102.02079).

    Client i gets class i modulo the number of classes and further classes at random; the samples of a class
    are divided evenly among the clients that have it, and those of a class that nobody has are left out.
    """

    classes_per_client: int = field(default=2, metadata={"help": "classes that every client has; 1 or more"})

    def partition(self, samples: Samples, clients: int, seed: int) -> list[NDArray[np.int64]]:
        """Return the rows of every client.

        Raises
        ------
        UsageError
            If there are not so many classes, or a class has fewer samples than clients that should have it.
        """
        classes = len(np.unique(samples.targets.numpy()))
        if not 1 <= self.classes_per_client <= classes:
            problem = f"the samples have {classes} classes"
            raise UsageError("classes_per_client", self.classes_per_client, problem, f"give 1 to {classes}")
        from flwr_datasets.partitioner import PathologicalPartitioner

        flower = PathologicalPartitioner(
            clients, LABEL, self.classes_per_client, "first-deterministic", seed=flower_seed(seed)
        )
        try:
            return divide(flower, samples, clients)
        except ValueError as error:
            problem = f"a class has fewer samples than those of the {clients} clients that should have it"
            remedy = "give fewer classes per client or fewer clients"
            raise UsageError("classes_per_client", self.classes_per_client, problem, remedy) from error
