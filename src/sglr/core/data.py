"""Samples, a data set, and its division among clients."""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from typing import Any, Self, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sglr.core.data_checks import UNSTATED, as_inputs, as_targets, check_finite, fitting_targets, settled_targets
from sglr.core.errors import UsageError
from sglr.core.task import Targets

AHEAD = 2
"""Batches that are held of those that were read ahead: the one in use and the next."""

CHUNK_BYTES = 1 << 26
"""Bytes of stored inputs that are looked at together when all are."""


class StoredInputs(ABC):
    """Inputs ``[N, ...]`` that stay in files; they are indexed like a tensor on the CPU, and read when they are.

    The same rows give the same bits, whatever they are read with. Another process reads the same files.

    Parameters
    ----------
    shape
        ``(N, ...)``.
    dtype
        Float32, or int64 for tokens.
    finite
        True if it is known that all values are finite.
    """

    def __init__(self, shape: Sequence[int], dtype: torch.dtype, *, finite: bool = False) -> None:
        self.shape, self.dtype, self.finite = tuple(shape), dtype, finite
        self.device = torch.device("cpu")
        self._ahead: deque[tuple[NDArray[np.int64], Future[Tensor]]] = deque(maxlen=AHEAD)

    @abstractmethod
    def read(self, rows: NDArray[np.int64]) -> Tensor:
        """Return the inputs of some rows ``[n]``, on the CPU: ``[n, ...]``.

        Raises
        ------
        UsageError
            If a file can't be read, or is not what it was.
        """

    def select(self, rows: NDArray[np.int64]) -> StoredInputs:
        """Return the inputs of some rows ``[n]``, unread."""
        return _Selected(self, rows)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: int | slice | Tensor) -> Tensor:
        """Return the inputs at one row, at those of a slice, or at a tensor of rows of any shape."""
        rows = self._rows(index)
        found = self._found(rows.reshape(-1))
        return found.reshape(*rows.shape, *found.shape[1:]).to(self.device)

    @property
    def nbytes(self) -> int:
        """Bytes that all inputs would fill in memory."""
        return math.prod(self.shape) * self.dtype.itemsize

    def dim(self) -> int:
        """Return the number of dimensions, that of the samples included."""
        return len(self.shape)

    def to(self, device: torch.device) -> Self:
        """Return the same, read to a device."""
        there = copy.copy(self)
        there.device = device
        return there

    def read_ahead(self, rows: NDArray[np.int64]) -> None:
        """Begin to read the rows ``[n]`` of the next batch, while this process computes."""
        if len(rows):
            rows = np.unique(rows)
            self._ahead.append((rows, _reader().submit(self.read, rows)))

    def chunks(self) -> Iterator[Tensor]:
        """Return all inputs in order, as many at a time as fill `CHUNK_BYTES`."""
        each = math.prod(self.shape[1:]) * self.dtype.itemsize
        return in_chunks(self, max(1, CHUNK_BYTES // each))

    def _rows(self, index: int | slice | Tensor) -> NDArray[np.int64]:
        if isinstance(index, slice):
            return np.arange(*index.indices(len(self)))
        return np.asarray(index.cpu().numpy() if isinstance(index, Tensor) else index, dtype=np.int64)

    def _found(self, rows: NDArray[np.int64]) -> Tensor:
        """Return rows that were read ahead, or read them."""
        if not len(rows):
            return torch.empty(0, *self.shape[1:], dtype=self.dtype)
        for known, coming in self._ahead:
            places = np.searchsorted(known, rows).clip(max=len(known) - 1)
            if np.array_equal(known[places], rows):
                return coming.result()[torch.from_numpy(places)]
        return self.read(rows)

    def __getstate__(self) -> dict[str, Any]:
        # What is being read is of this object alone: a copy, or another process, reads for itself.
        return {**vars(self), "_ahead": deque(maxlen=AHEAD)}


class _Selected(StoredInputs):
    """Some rows of stored inputs."""

    def __init__(self, whole: StoredInputs, rows: NDArray[np.int64]) -> None:
        super().__init__((len(rows), *whole.shape[1:]), whole.dtype, finite=whole.finite)
        self._whole, self._chosen = whole, rows

    def read(self, rows: NDArray[np.int64]) -> Tensor:
        return self._whole.read(self._chosen[rows])

    def select(self, rows: NDArray[np.int64]) -> StoredInputs:
        return self._whole.select(self._chosen[rows])


Inputs: TypeAlias = Tensor | StoredInputs
"""The inputs of samples: in memory, or in files."""


@cache
def _reader() -> ThreadPoolExecutor:
    """Return the thread that reads ahead."""
    return ThreadPoolExecutor(1, "sglr reads ahead")


def in_chunks(inputs: Inputs, size: int) -> Iterator[Tensor]:
    """Yield inputs ``[N, ...]`` in order, ``size`` at a time; of none, an empty tensor."""
    return (inputs[first : first + size] for first in range(0, max(1, len(inputs)), size))


def select(inputs: Inputs, rows: Tensor) -> Inputs:
    """Return the inputs at ``rows`` (int64 ``[n]``); those that are stored stay so."""
    return inputs.select(rows.numpy()) if isinstance(inputs, StoredInputs) else inputs[rows]


@dataclass(frozen=True)
class Samples:
    """Inputs with their targets.

    What is given as NumPy arrays, as lists, on another device or as numbers of another size becomes such tensors;
    what would lose something is refused.

    Parameters
    ----------
    inputs
        Float32 tensor ``[N, ...]``, or int64 for tokens; images are ``[N, channels, height, width]``. Or `StoredInputs`
        of this kind, which are read while training.
    targets
        Class numbers, int64 ``[N]``; several numbers for each sample, ``[N, ...]``; masks, uint8 or int64; or
        measurements, float32 ``[N]`` or ``[N, T]``.
    columns
        Further columns of length N by name, for partitioning by a natural key (hospital, writer, device).

    Raises
    ------
    UsageError
        If inputs or targets are of another kind or shape, or their numbers differ. Other values are checked by
        `Dataset`, once.
    """

    inputs: Inputs
    targets: Tensor
    columns: Mapping[str, NDArray[np.object_]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.inputs, StoredInputs):
            object.__setattr__(self, "inputs", as_inputs(self.inputs))
        object.__setattr__(self, "targets", as_targets(self.targets))
        lengths = {"targets": len(self.targets), **{name: len(values) for name, values in self.columns.items()}}
        for name, length in lengths.items():
            if length != len(self.inputs):
                problem = f"there are {len(self.inputs)} inputs"
                raise UsageError(name, f"{length} values", problem, "give one for each input")

    def __len__(self) -> int:
        return len(self.targets)

    def select(self, indices: Tensor) -> Samples:
        """Return the samples at ``indices`` (int64 ``[n]``); what is stored stays so."""
        rows = indices.numpy()
        columns = {name: values[rows] for name, values in self.columns.items()}
        return Samples(select(self.inputs, indices), self.targets[indices], columns)

    @property
    def tensor(self) -> Tensor:
        """The inputs in memory; those that are stored are read, all of them."""
        return self.inputs[:]


@dataclass(frozen=True)
class Dataset:
    """A data set.

    Parameters
    ----------
    name
        Its registered name, with the argument if it takes one.
    train, test
        The training and the test samples.
    classes
        The names of the classes, where each sample has one: a target is a position in it. Empty for other targets.
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
    targets
        What the targets are; by default class numbers where ``classes`` are given, or measurements where they are
        fractions.

    Raises
    ------
    UsageError
        If parts don't fit one another, the classes or the targets, it is unknown what targets are, or a value is not
        finite; the message names the row.
    """

    name: str
    train: Samples
    test: Samples
    classes: tuple[str, ...] = ()
    validation: Samples | int | None = None
    encoding: Mapping[str, Any] = field(default_factory=dict)
    group: str | None = None
    notes: tuple[str, ...] = ()
    targets: Targets = UNSTATED

    def __post_init__(self) -> None:
        for part, samples in self._parts:
            if not isinstance(samples, Samples):
                problem = "is not an sglr.Samples"
                raise UsageError(part, type(samples).__name__, problem, "give sglr.Samples(inputs, targets)")
        targets = settled_targets(self.classes, self.targets, [samples.targets for _, samples in self._parts])
        object.__setattr__(self, "targets", targets)
        object.__setattr__(self, "classes", targets.names if targets.are_classes else ())
        for part, samples in self._parts:
            fitting = fitting_targets(f"{part}.targets", samples.targets, targets)
            if fitting.dtype != samples.targets.dtype:
                object.__setattr__(self, part, replace(samples, targets=fitting))
            check_finite(f"{part}.inputs", samples.inputs)
        self._check_parts_fit()

    @property
    def _parts(self) -> list[tuple[str, Samples]]:
        held = [] if self.validation is None or isinstance(self.validation, int) else [("validation", self.validation)]
        return [("train", self.train), ("test", self.test), *held]

    def _check_parts_fit(self) -> None:
        own = self.train.inputs
        for part, samples in self._parts:
            if own.shape[1:] != samples.inputs.shape[1:] or own.dtype != samples.inputs.dtype:
                theirs = f"those of train are {_kind(own)}"
                raise UsageError(f"{part}.inputs", _kind(samples.inputs), theirs, "give all the same shape and type")
        if bool(len(own)) != bool(len(self.test)):
            empty = "test" if len(own) else "train"
            raise UsageError(empty, "0 samples", "there is nothing to learn from or to test with", "give some")

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input, without the sample dimension."""
        return tuple(self.train.inputs.shape[1:])


def _kind(inputs: Inputs) -> str:
    return f"{str(inputs.dtype).removeprefix('torch.')} {list(inputs.shape[1:])}"


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
    targets
        What the targets are.
    encoding, notes
        As in `Dataset`.
    """

    train: Samples
    indices: tuple[Tensor, ...]
    validation: Samples | None
    test: Samples
    targets: Targets
    encoding: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes; empty where samples don't each have one."""
        return self.targets.names if self.targets.are_classes else ()

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """|D_i|, the number of samples of every client."""
        return tuple(len(rows) for rows in self.indices)
