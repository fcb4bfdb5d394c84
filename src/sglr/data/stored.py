"""Inputs that are read while training: an array in a file, and several of them one after another."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sglr.core.data import StoredInputs
from sglr.core.errors import UsageError, unknown
from sglr.system.extras import optional
from sglr.system.machine import memory_of

Store = Literal["auto", "memory", "disk"]
"""Where samples are while training; ``"auto"`` is memory, unless they would fill more than `LARGEST_SHARE` of it."""

LARGEST_SHARE = 0.25
"""Share of the memory that samples may fill: they are copied once when they are divided, and training needs some."""

SAMPLE_STORE = {
    "help": "where inputs are while training: memory, or disk, from which they are read when they are used;"
    " auto is disk if they would fill a quarter of the memory",
    "decides": "nothing",
    "clients": "own",
    "since": "0.2.0",
}
"""What is known of the parameter ``sample_store`` of a data set whose inputs may stay in files."""


def stays_on_disk(store: str, size: int) -> bool:
    """Return whether inputs of ``size`` bytes are read while training.

    Raises
    ------
    UsageError
        If ``store`` is not a `Store`.
    """
    if store not in get_args(Store):
        raise unknown("sample_store", store, get_args(Store))
    return store == "disk" or (store == "auto" and size > LARGEST_SHARE * memory_of(torch.device("cpu")))


@dataclass(frozen=True)
class ArrayFile:
    """An array in a file, as another process finds it.

    Parameters
    ----------
    path
        The file.
    shape, dtype
        Of the array.
    place
        The name of a data set in an HDF5 file; or the byte at which the values begin, one row after another.
    """

    path: Path
    shape: tuple[int, ...]
    dtype: str
    place: str | int

    @classmethod
    def of(cls, array: Any) -> ArrayFile | None:
        """Return the file of a NumPy memory map or of an ``h5py.Dataset``; None for anything else.

        A view of a memory map whose rows don't lie one after another in the file counts as something else.
        """
        # What was written to a map of mode "c" is not in the file.
        if isinstance(array, np.memmap) and array.filename and array.flags.c_contiguous and array.mode != "c":
            start = _address(array) - _address(np.frombuffer(array._mmap, np.uint8))  # type: ignore[attr-defined]
            start += array.offset - array.offset % mmap.ALLOCATIONGRANULARITY
            return cls(Path(array.filename).absolute(), array.shape, array.dtype.str, start)
        file = getattr(getattr(array, "file", None), "filename", None)
        if type(array).__module__.startswith("h5py.") and file is not None and array.name is not None:
            return cls(Path(file).absolute(), tuple(array.shape), array.dtype.str, str(array.name))
        return None

    def open(self) -> Any:
        """Return the array, unread.

        Raises
        ------
        UsageError
            If the file is missing, or the array is not what it was.
        """
        try:
            if isinstance(self.place, int):
                return np.memmap(self.path, np.dtype(self.dtype), "r", self.place, self.shape)
            h5py = optional("h5py", "data", "inputs", self.path)
            found = h5py.File(self.path, "r")[self.place]
        except (OSError, ValueError, KeyError) as error:
            raise self._changed(str(error)) from error
        if (tuple(found.shape), found.dtype.str) != (self.shape, self.dtype):
            raise self._changed(f"{self.place} has shape {list(found.shape)} and type {found.dtype}")
        return found

    def _changed(self, why: str) -> UsageError:
        problem = f"can't be read as an array of shape {list(self.shape)} ({why})"
        return UsageError("inputs", self.path, problem, "put back the file that the training began with")


def _address(array: NDArray[Any]) -> int:
    return int(array.__array_interface__["data"][0])


class StoredArray(StoredInputs):
    """The rows of an array in a file.

    Parameters
    ----------
    file
        The array.
    convert
        Makes inputs ``[n, ...]`` of rows of the array, of each row by itself.
    """

    def __init__(self, file: ArrayFile, convert: Callable[[NDArray[Any]], Tensor]) -> None:
        self.file, self._convert, self._array = file, convert, file.open()
        first = convert(np.asarray(self._array[:1]))
        super().__init__((file.shape[0], *first.shape[1:]), first.dtype)

    def read(self, rows: NDArray[np.int64]) -> Tensor:
        """Return the inputs of some rows, which are read in the order in which they lie in the file."""
        if self._array is None:
            self._array = self.file.open()
        wanted, places = np.unique(rows, return_inverse=True)
        return self._convert(np.asarray(self._array[wanted]))[torch.from_numpy(places)]

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_array": None}


class JoinedInputs(StoredInputs):
    """Several stored inputs, one after another.

    Parameters
    ----------
    parts
        Inputs of the same shape and type.
    """

    def __init__(self, parts: Sequence[StoredInputs]) -> None:
        self._parts = tuple(parts)
        self._ends = np.cumsum([0, *map(len, parts)])
        finite = all(part.finite for part in parts)
        super().__init__((int(self._ends[-1]), *parts[0].shape[1:]), parts[0].dtype, finite=finite)

    def read(self, rows: NDArray[np.int64]) -> Tensor:
        """Return the inputs of some rows, each from its part."""
        found = torch.empty(len(rows), *self.shape[1:], dtype=self.dtype)
        for part, (first, end) in zip(self._parts, pairwise(self._ends), strict=True):
            places = np.flatnonzero((rows >= first) & (rows < end))
            if len(places):
                found[torch.from_numpy(places)] = part.read(rows[places] - first)
        return found
