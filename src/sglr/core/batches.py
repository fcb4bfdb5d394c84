"""Which samples a client uses in which step: the order of its data, cut into batches."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sglr.core.random import generator

Rows = NDArray[np.int64]


def order_of(rows: Rows, seed: int, client: int, epoch: int) -> Rows:
    """Return a client's ``rows`` in the order in which it uses them in an epoch."""
    return generator(seed, "order", client, epoch).permutation(rows)


def steps_of(sizes: Rows, batch_size: int) -> int:
    """Return the number of steps of an epoch: those of the client with most samples (0 if nobody has any)."""
    return -(-int(sizes.max(initial=0)) // batch_size)


def batches_at(step: int, sizes: Rows, batch_size: int, short_clients: str) -> tuple[Rows, Rows]:
    """Return where every client's batch of a step begins in its order, and how many samples it has.

    Parameters
    ----------
    step
        The step of the epoch, from 0.
    sizes
        |D_i| ``[n]``.
    batch_size
        b.
    short_clients
        ``"wait"`` or ``"cycle"``: a client whose data is over has 0 samples, or its first batches again.

    Returns
    -------
    tuple of NDArray
        First positions and counts, int64 ``[n]``.
    """
    own_steps = np.maximum(1, -(-sizes // batch_size))
    first = np.full(len(sizes), step, dtype=np.int64) if short_clients == "wait" else step % own_steps
    first = first * batch_size
    return first, np.clip(sizes - first, 0, batch_size)
