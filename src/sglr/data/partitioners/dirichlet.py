"""Classes spread unevenly: every client's share of a class is drawn from a Dirichlet distribution."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sglr.core.data import Samples
from sglr.core.errors import UsageError
from sglr.data.flower import LABEL, divide, flower_seed

__all__ = ["Dirichlet"]


@dataclass(frozen=True)
class Dirichlet:
    """Label skew after Yurochkin et al., 2019 (arXiv 1905.12022)."""

    concentration: float = field(default=0.5, metadata={"help": "the smaller, the more uneven; above 0"})

    def partition(self, samples: Samples, clients: int, seed: int) -> list[NDArray[np.int64]]:
        """Return the rows of every client.

        Raises
        ------
        UsageError
            If the concentration is not positive, or so small that some client gets no samples.
        """
        if not 0 < self.concentration < float("inf"):
            remedy = "give a number above 0, such as 0.5"
            raise UsageError("concentration", self.concentration, "not a positive number", remedy)
        from flwr_datasets.partitioner import DirichletPartitioner

        flower = DirichletPartitioner(
            clients, LABEL, float(self.concentration), min_partition_size=1, seed=flower_seed(seed)
        )
        try:
            return divide(flower, samples, clients)
        except ValueError as error:
            problem = f"some of {clients} clients got none of {len(samples)} samples in each of 10 draws"
            remedy = "give a larger concentration or fewer clients"
            raise UsageError("concentration", self.concentration, problem, remedy) from error
