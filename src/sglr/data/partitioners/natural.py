"""One client for each value of a column, such as hospital, device or writer."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sglr.core.data import Samples
from sglr.core.errors import UsageError, unknown

__all__ = ["Natural"]


@dataclass(frozen=True)
class Natural:
    """Divide by a column of the data set; client i has the i-th of its values in sorted order."""

    partition_by: str = field(default="", metadata={"help": "the column whose values are the clients"})

    def partition(self, samples: Samples, clients: int, seed: int) -> list[NDArray[np.int64]]:  # noqa: ARG002
        """Return the rows of every client; no random draws, so the seed has no effect.

        Raises
        ------
        UsageError
            If the column does not exist, or its number of values is not the number of clients.
        """
        if not samples.columns:
            problem = "the data set has no column to divide by"
            remedy = "use a data set that has one (see group_columns of table:), or another partition"
            raise UsageError("partition_by", self.partition_by, problem, remedy)
        if self.partition_by not in samples.columns:
            raise unknown("partition_by", self.partition_by, samples.columns)
        names, owner = np.unique(samples.columns[self.partition_by].astype(str), return_inverse=True)
        if clients != len(names):
            problem = f"the column {self.partition_by!r} has {len(names)} values among the training samples"
            raise UsageError("clients", clients, problem, f"give --clients {len(names)}")
        return [np.flatnonzero(owner == client) for client in range(clients)]
