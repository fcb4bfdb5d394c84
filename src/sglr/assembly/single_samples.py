"""The fewest samples of a batch, where a segment can't train on a single one."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from sglr.core.errors import UsageError, name_clients

log = logging.getLogger(__name__)


def least_batch(needy: Sequence[str], batch_size: int, sizes: Sequence[int]) -> int:
    """Return the fewest samples that a batch may have, 1 or 2, and warn of clients and batches of one sample.

    Parameters
    ----------
    needy
        The segments that can't train on a single sample, in words.
    batch_size
        b.
    sizes
        |D_i| of every client; 0 where it is not known.

    Raises
    ------
    UsageError
        If batches, or all clients' data, are single samples, and a segment can't train on one.
    """
    if not needy:
        return 1
    why = f"{' and '.join(needy)} can't train on a single sample (batch statistics)"
    if batch_size == 1:
        raise UsageError("batch_size", 1, why, "give 2 or more, or a model that normalises otherwise")
    alone = [client for client, size in enumerate(sizes) if size == 1]
    if alone and len(alone) == len(sizes):
        raise UsageError("clients", len(sizes), f"each has a single sample, and {why}", "give fewer clients")
    joined = [client for client, size in enumerate(sizes) if size > 1 and size % batch_size == 1]
    if joined:
        told = f"has {batch_size + 1} samples, not {batch_size} and then 1"
        log.warning("the last batch of %s %s: %s", name_clients(joined), told, why)
    if alone:
        log.warning("not trained, with a single sample each: %s; %s", name_clients(alone), why)
    return 2
