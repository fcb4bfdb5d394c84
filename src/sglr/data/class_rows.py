"""Group rows by class, for rules that divide by it, and join each client's rows of all classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sglr.core.data import Samples
from sglr.core.errors import UsageError

Rows = NDArray[np.int64]


def class_numbers(samples: Samples, rule: object) -> Rows:
    """Return the class of every sample ``[N]``.

    Raises
    ------
    UsageError
        If samples don't each have one; the message names the ``rule`` that needs it.
    """
    if samples.targets.dim() > 1 or samples.targets.dtype.is_floating_point:
        problem = "divides by class, and these samples don't have one class each"
        remedy = "give --partition iid, natural or resample"
        raise UsageError("partition", type(rule).__name__.lower(), problem, remedy)
    return samples.targets.numpy()


def class_rows(samples: Samples, rule: object) -> list[Rows]:
    """Return the rows of each class that occurs, in ascending order of the class and of the row.

    Raises
    ------
    UsageError
        If samples don't each have one; the message names the ``rule`` that needs it.
    """
    targets = class_numbers(samples, rule)
    return [np.flatnonzero(targets == name) for name in np.unique(targets)]


def joined(parts: Sequence[Sequence[Rows]], rng: np.random.Generator) -> list[Rows]:
    """Join every client's parts of all classes, ``parts[class][client]``, and shuffle each client's rows."""
    rows = [np.concatenate(own) for own in zip(*parts, strict=True)]
    for own in rows:
        rng.shuffle(own)
    return rows
