"""Divide a data set among clients: first the validation samples, then each client's own."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sglr.core.data import ClientData, Dataset, Samples
from sglr.core.errors import UsageError, name_clients
from sglr.core.random import generator
from sglr.data.loaded import division_notes
from sglr.data.partitioners.iid import Iid
from sglr.data.split import held_apart

Rows = NDArray[np.int64]


class Partitioner(Protocol):
    """A rule that divides samples among clients; its fields are its parameters."""

    def partition(self, samples: Samples, clients: int, seed: int) -> list[Rows]:
        """Return the rows of every client: none empty, the same for the same seed.

        They are disjoint, unless the rule has a class attribute ``overlapping`` that is true.
        """


def federate(
    dataset: Dataset,
    partitioner: Partitioner,
    clients: int,
    seed: int,
    validation: int | float | None = None,
    samples_per_client: int | None = None,
    test_samples: int | None = None,
) -> ClientData:
    """Hold validation samples apart and divide the rest of the training samples among clients.

    Parameters
    ----------
    dataset
        The data set.
    partitioner
        The rule that divides the samples.
    clients
        The number of clients, 1 or more.
    seed
        Seed of all draws; the same seed gives the same division in any process.
    validation
        Number (int) or fraction (float) of training samples drawn for validation, each class in proportion (where
        samples have one) and groups whole; 0 for none; None for the data set's own validation samples, else its usual
        number, else a tenth.
    samples_per_client
        Keep at most this many samples of each client, drawn at random; exactly this many if the division is IID.
    test_samples
        Keep at most this many test samples, each class in proportion: the same ones for every seed.

    Returns
    -------
    The divided data. Its training samples are only those that clients own, ordered by client; if clients
    may share samples, all of them. For a data set without samples, whose clients hold their own remotely, all
    parts are empty.

    Raises
    ------
    UsageError
        If there are too few samples, or the rule leaves a client without any.
    """
    if not len(dataset.train):
        return _elsewhere(dataset, clients, validation)
    held = _held_apart(dataset, validation)
    if samples_per_client is not None and samples_per_client < 1:
        raise UsageError(
            "samples_per_client", samples_per_client, "each client needs at least one sample", "give 1 or more"
        )
    own = _own_validation(dataset, validation)
    apart, owned = _divided(dataset, held, seed) if held else (own, dataset.train)
    _check_clients(clients, len(owned), partitioner, samples_per_client)
    rows = partitioner.partition(owned, clients, seed)
    _check_owners(rows, partitioner)
    if samples_per_client is not None:
        rows = [_draw(own, samples_per_client, seed, client) for client, own in enumerate(rows)]
    test = fewer(dataset.test, test_samples)
    notes = (*dataset.notes, *division_notes(dataset, validation))
    if _overlaps(partitioner):
        indices = tuple(map(torch.from_numpy, rows))
        return ClientData(owned, indices, apart, test, dataset.targets, dataset.encoding, notes)
    train = owned.select(torch.from_numpy(np.concatenate(rows)))
    return ClientData(train, _consecutive(rows), apart, test, dataset.targets, dataset.encoding, notes)


def _divided(dataset: Dataset, held: int, seed: int) -> tuple[Samples, Samples]:
    """Return the samples for validation and those that clients own, each in their order."""
    targets, groups = dataset.train.targets.numpy(), dataset.train.columns.get(dataset.group or "")
    apart = torch.from_numpy(held_apart(targets, held, generator(seed, "validation"), groups))
    return dataset.train.select(apart.nonzero()[:, 0]), dataset.train.select((~apart).nonzero()[:, 0])


def _overlaps(partitioner: Partitioner) -> bool:
    return bool(getattr(partitioner, "overlapping", False))


def _elsewhere(dataset: Dataset, clients: int, validation: int | float | None) -> ClientData:
    nobody = torch.arange(0)
    apart = None if validation == 0 else dataset.train.select(nobody)
    test = dataset.test.select(nobody)
    told = dataset.targets, dataset.encoding, dataset.notes
    return ClientData(dataset.train, (nobody,) * clients, apart, test, *told)


def fewer(samples: Samples, count: int | None) -> Samples:
    """Return at most this many samples, each class in proportion, always the same ones; None keeps all."""
    if count is None or count >= len(samples):
        return samples
    chosen = held_apart(samples.targets.numpy(), count, generator(0, "test samples"))
    return samples.select(torch.from_numpy(np.flatnonzero(chosen)))


def customary_validation(dataset: Dataset) -> int:
    """Return how many training samples are held out for validation by default."""
    if isinstance(dataset.validation, Samples):
        return 0
    return dataset.validation or len(dataset.train) // 10


def _own_validation(dataset: Dataset, validation: int | float | None) -> Samples | None:
    return dataset.validation if validation is None and isinstance(dataset.validation, Samples) else None


def _held_apart(dataset: Dataset, validation: int | float | None) -> int:
    total = len(dataset.train)
    if validation is None:
        return customary_validation(dataset)
    fraction = isinstance(validation, float)
    if not 0 <= validation < (1 if fraction else total):
        problem = f"there are {total} training samples"
        raise UsageError("validation", validation, problem, f"give 0 to {total - 1}, or a fraction below 1.0")
    return int(validation * total) if fraction else int(validation)


def _check_clients(clients: int, samples: int, partitioner: Partitioner, samples_per_client: int | None) -> None:
    if clients < 1:
        raise UsageError("clients", clients, "at least one client is needed", "give 1 or more")
    if clients > samples and not _overlaps(partitioner):
        problem = f"there are {samples} samples to divide"
        raise UsageError("clients", clients, problem, f"give {samples} clients or fewer, or --partition resample")
    wanted = clients * (samples_per_client or 0)
    if isinstance(partitioner, Iid) and wanted > samples:
        problem = f"{clients} clients need {wanted} samples, but there are {samples}"
        remedy = f"give {samples // clients} or fewer"
        raise UsageError("samples_per_client", samples_per_client, problem, remedy)


def _check_owners(rows: list[Rows], partitioner: Partitioner) -> None:
    """Refuse a division that leaves a client without samples: it could never train."""
    empty = [client for client, own in enumerate(rows) if not len(own)]
    if empty:
        name, problem = type(partitioner).__name__.lower(), f"{name_clients(empty)} would have no samples"
        raise UsageError("partition", name, problem, "give fewer clients, or another partition")


def _draw(rows: Rows, count: int, seed: int, client: int) -> Rows:
    if len(rows) <= count:
        return rows
    return generator(seed, "samples per client", client).choice(rows, count, replace=False)


def _consecutive(rows: list[Rows]) -> tuple[Tensor, ...]:
    ends = np.cumsum([len(own) for own in rows]).tolist()
    return tuple(torch.arange(end - len(own), end) for own, end in zip(rows, ends, strict=True))
