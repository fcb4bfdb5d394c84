"""Hold a part of the samples apart, every class in proportion."""

from __future__ import annotations

from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sglr.core.errors import UsageError
from sglr.core.random import generator

Rows = NDArray[np.int64]


def stratified_split(targets: NDArray[Any], fraction: float, seed: int) -> tuple[Rows, Rows]:
    """Split rows into a training and a test part, the classes in proportion to within one sample.

    Parameters
    ----------
    targets
        Class of every sample ``[N]``.
    fraction
        Part of the samples that goes to the test part, between 0 and 1; rounded up.
    seed
        Seed of the draw.

    Returns
    -------
    Rows of the training part and rows of the test part, each in ascending order.

    Raises
    ------
    UsageError
        If the fraction leaves either part empty.
    """
    total = len(targets)
    held = ceil(total * fraction) if 0 < fraction < 1 else 0
    if not 0 < held < total:
        problem = f"cannot divide {total} samples into a training and a test part"
        raise UsageError("test_fraction", fraction, problem, "give a fraction between 0 and 1, such as 0.2")
    shuffled = generator(seed, "test split").permutation(total)
    by_class = shuffled[np.argsort(targets[shuffled], kind="stable")]
    # Evenly spaced positions in an order sorted by class take from every class its share.
    positions = ((np.arange(held) + 0.5) * total / held).astype(np.int64)
    test = np.zeros(total, dtype=bool)
    test[by_class[positions]] = True
    return np.flatnonzero(~test), np.flatnonzero(test)
