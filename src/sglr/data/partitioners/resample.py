"""Every client draws its own samples from the whole data set, so any number of clients is possible."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from sglr.core.data import Samples
from sglr.core.errors import UsageError
from sglr.core.random import generator
from sglr.system.machine import refuse_beyond_memory

__all__ = ["Resample"]


@dataclass(frozen=True)
class Resample:
    """Draw every client's samples at random without replacement; clients may share samples.

    A client's samples do not depend on the number of clients.
    """

    overlapping: ClassVar[bool] = True

    draws: int = field(default=32, metadata={"help": "samples per client; 1 or more"})

    def partition(self, samples: Samples, clients: int, seed: int) -> list[NDArray[np.int64]]:
        """Return the rows of every client."""
        if not 1 <= self.draws <= len(samples):
            problem = f"there are {len(samples)} samples to draw from"
            raise UsageError("draws", self.draws, problem, f"give 1 to {len(samples)}")
        what = f"{clients} clients that draw {self.draws} samples each"
        refuse_beyond_memory(8 * clients * self.draws, "draws", self.draws, what, "give fewer")
        rng = generator(seed, "partition")
        return [rng.choice(len(samples), self.draws, replace=False) for _ in range(clients)]
