"""Group rows by class, and join each client's rows of all classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sglr.core.data import Samples

Rows = NDArray[np.int64]


def class_rows(samples: Samples) -> list[Rows]:
    """Return the rows of each class that occurs, in ascending order of the class and of the row."""
    targets = samples.targets.numpy()
    return [np.flatnonzero(targets == name) for name in np.unique(targets)]


def joined(parts: Sequence[Sequence[Rows]], rng: np.random.Generator) -> list[Rows]:
    """Join every client's parts of all classes, ``parts[class][client]``, and shuffle each client's rows."""
    rows = [np.concatenate(own) for own in zip(*parts, strict=True)]
    for own in rows:
        rng.shuffle(own)
    return rows
