"""Tell data sets that were given as objects apart: in settings they are ``<name digest>``."""

from __future__ import annotations

import re
from hashlib import blake2b

from torch import Tensor

from sglr.core.data import Dataset
from sglr.core.errors import UsageError

LOOKED_AT = 1 << 18
"""Values of a tensor, evenly spaced, that are looked at: enough to tell data apart, at no cost."""

ENTRY = re.compile(r"<.* [0-9a-f]{8}>")


def entry_of(dataset: Dataset) -> str:
    """Return how settings name a data set that was given as an object, such as ``"<waves 5c1f09ab>"``."""
    digest = blake2b("\n".join(dataset.classes).encode(), digest_size=4)
    for samples in (dataset.train, dataset.test):
        for tensor in (samples.inputs, samples.targets):
            digest.update(str([*tensor.shape]).encode())
            digest.update(_some(tensor).numpy().tobytes())
    return f"<{dataset.name} {digest.hexdigest()}>"


def _some(tensor: Tensor) -> Tensor:
    # An odd step does not fall onto the same columns and channels again and again.
    return tensor.reshape(-1)[:: tensor.numel() // LOOKED_AT | 1].contiguous()


def refuse_other_data(recorded: str, dataset: Dataset) -> None:
    """Refuse a data set that is not the one that a run's settings name; runs of before don't say which it was.

    Raises
    ------
    UsageError
        If it is another.
    """
    if ENTRY.fullmatch(recorded) and recorded != entry_of(dataset):
        problem = f"the run was made with {recorded}, whose samples differ"
        raise UsageError("dataset", entry_of(dataset), problem, "give the same data, or train a new run")
