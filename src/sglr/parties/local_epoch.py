"""What a block of clients remembers while a cohort passes over its data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass
class LocalEpoch:
    """A cohort's pass over its data: who, and in which order the samples come."""

    cohort: tuple[int, ...]
    order: NDArray[np.int64]  # [n, largest |D_i|] rows of the training samples; the tail of short rows is unused
    sizes: NDArray[np.int64]  # [n] |D_i|
    epoch: int
