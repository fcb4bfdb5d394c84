"""Identify data sets given as objects: settings record them as ``<name digest>``."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from hashlib import blake2b

from torch import Tensor

from sglr.core.data import Dataset, Inputs, StoredInputs
from sglr.core.errors import UsageError

LOOKED_AT = 1 << 18
"""Number of evenly spaced values of a tensor that are hashed: enough to distinguish data, at negligible cost."""

ENTRY = re.compile(r"<.* [0-9a-f]{8}>")


def entry_of(dataset: Dataset) -> str:
    """Return how settings name a data set that was given as an object, such as ``"<waves 5c1f09ab>"``."""
    told = "\n".join(dataset.classes) if dataset.classes else repr(dataset.targets)
    digest = blake2b(told.encode(), digest_size=4)
    for samples in (dataset.train, dataset.test):
        for values in (samples.inputs, samples.targets):
            digest.update(str([*values.shape]).encode())
            for some in _some(values):
                digest.update(some.numpy().tobytes())
    return f"<{dataset.name} {digest.hexdigest()}>"


def _some(values: Inputs) -> Iterator[Tensor]:
    # An odd step avoids hitting the same columns and channels every time.
    step, first = math.prod(values.shape) // LOOKED_AT | 1, 0
    for chunk in values.chunks() if isinstance(values, StoredInputs) else [values]:
        yield chunk.reshape(-1)[first::step].contiguous()
        first = (first - chunk.numel()) % step


def refuse_other_data(recorded: str, dataset: Dataset) -> None:
    """Refuse a data set that differs from the one in a run's settings; older runs did not record it.

    Raises
    ------
    UsageError
        If it differs.
    """
    if ENTRY.fullmatch(recorded) and recorded != entry_of(dataset):
        problem = f"the run was made with {recorded}, whose samples differ"
        raise UsageError("dataset", entry_of(dataset), problem, "give the same data, or train a new run")
