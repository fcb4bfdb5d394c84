"""What the engines know of data: samples, a data set, and its division among clients."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class Samples:
    """Inputs with their labels.

    Parameters
    ----------
    inputs
        Float32 tensor ``[N, ...]``; images are ``[N, channels, height, width]``.
    targets
        Int64 tensor ``[N]`` of class numbers.
    columns
        Further columns of length N by name, for partitioning by a natural key (hospital, writer, device).
    """

    inputs: Tensor
    targets: Tensor
    columns: Mapping[str, NDArray[np.object_]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.targets)

    def select(self, indices: Tensor) -> Samples:
        """Return the samples at ``indices`` (int64 ``[n]``)."""
        rows = indices.numpy()
        columns = {name: values[rows] for name, values in self.columns.items()}
        return Samples(self.inputs[indices], self.targets[indices], columns)


@dataclass(frozen=True)
class Dataset:
    """A classification data set.

    Parameters
    ----------
    name
        Its registered name, with the argument if it takes one.
    train, test
        The training and the test samples.
    classes
        The names of the classes; a target is a position in it.
    validation
        The samples for validation; or the number of training samples usually held apart for it, or None where there is
        no custom.
    encoding
        How what was stored became inputs, as JSON can hold it: the run folder keeps it, so that new data can be read
        alike.
    group
        The column of the samples whose values must each stay on one side of a division into training, validation and
        test; None for no such column.
    notes
        What its user should know of how it was read, a sentence each: what was passed over, what looks wrong.
    """

    name: str
    train: Samples
    test: Samples
    classes: tuple[str, ...]
    validation: Samples | int | None = None
    encoding: Mapping[str, Any] = field(default_factory=dict)
    group: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input, without the sample dimension."""
        return tuple(self.train.inputs.shape[1:])


@dataclass(frozen=True)
class ClientData:
    """A data set divided among clients.

    Parameters
    ----------
    train
        The samples that clients own; client i's are at ``indices[i]``.
    indices
        One int64 tensor of rows of ``train`` per client; disjoint, unless clients drew theirs from the whole.
    validation
        Samples held apart before partitioning, or None.
    test
        The test samples, whole.
    classes
        The names of the classes.
    encoding, notes
        As in `Dataset`.
    """

    train: Samples
    indices: tuple[Tensor, ...]
    validation: Samples | None
    test: Samples
    classes: tuple[str, ...]
    encoding: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """|D_i|, the number of samples of every client."""
        return tuple(len(rows) for rows in self.indices)
