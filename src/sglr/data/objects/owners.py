"""Name the owner of each sample, if every client brings its own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def owner_names(sizes: Sequence[int]) -> NDArray[np.object_]:
    """Return the name of every sample's client; sorted by name, clients are in the order of their numbers.

    Parameters
    ----------
    sizes
        The number of samples of each client.
    """
    width = len(str(len(sizes) - 1))
    return np.repeat(np.array([f"{client:0{width}d}" for client in range(len(sizes))], dtype=object), sizes)
