"""Divide samples by the partitioners of flwr-datasets (Flower), quietly and as plain rows."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sglr.core.data import Samples
from sglr.core.random import key

LABEL = "label"  # what a partitioner's ``partition_by`` must name


def flower_seed(seed: int) -> int:
    """Return the seed to give to a partitioner of flwr-datasets."""
    return key(seed, "partition")


def divide(partitioner: Any, samples: Samples, clients: int) -> list[NDArray[np.int64]]:
    """Return the rows of every client.

    Parameters
    ----------
    partitioner
        A `flwr_datasets.partitioner.Partitioner` that divides by the column ``LABEL``.
    samples
        The samples; only their targets are looked at.
    clients
        The number of clients that the partitioner was made for.

    Raises
    ------
    ValueError
        If the partitioner cannot divide these samples as it was asked to.
    """
    order = np.argsort(samples.targets.numpy(), kind="stable")
    with warnings.catch_warnings():
        # Deprecations within its libraries, and retries that end in an error if they fail.
        warnings.simplefilter("ignore")
        partitioner.dataset = _recorder(samples.targets.numpy()[order])
        return [order[np.asarray(partitioner.load_partition(c), dtype=np.int64)] for c in range(clients)]


def _recorder(labels: NDArray[np.int64]) -> Any:
    from datasets import Dataset

    class Recorder(Dataset):  # type: ignore[misc, unused-ignore]
        """Sorted labels that answer with the rows asked for, where a data set would copy and hash them."""

        def select(self, indices: Any) -> Any:
            return indices

        def sort(self, _: str) -> Any:
            return self

    return Recorder.from_dict({LABEL: labels})
