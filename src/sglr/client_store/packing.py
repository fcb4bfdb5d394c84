"""Pack a client's whole state into one row of bytes, so that it is read and written in one piece."""

from __future__ import annotations

import json
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor

from sglr.core.weights import Weights


class Entry(NamedTuple):
    """One tensor of a row.

    Parameters
    ----------
    name, dtype, shape
        Its name, torch's name of its type, and its shape.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def type(self) -> torch.dtype:
        """The type of its numbers."""
        found: torch.dtype = getattr(torch, self.dtype)
        return found

    @property
    def bytes(self) -> int:
        """The number of its bytes in a row."""
        return prod(self.shape) * self.type.itemsize


Layout = tuple[Entry, ...]
"""The tensors of a row, in the order of their bytes."""


def layout_of(tensors: Weights) -> Layout:
    """Return the layout of rows made of ``tensors`` ``[n, ...]``."""
    return tuple(
        Entry(name, str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape[1:]))
        for name, tensor in sorted(tensors.items())
    )


def pack(tensors: Weights) -> Tensor:
    """Return the rows of ``tensors`` ``[n, ...]`` as bytes, uint8 ``[n, B]``, on the host."""
    count = len(next(iter(tensors.values())))
    columns = [tensor.detach().cpu().reshape(count, prod(tensor.shape[1:])) for _, tensor in sorted(tensors.items())]
    return torch.cat([column.clone(memory_format=torch.contiguous_format).view(torch.uint8) for column in columns], 1)


def unpack(rows: Tensor, layout: Layout) -> dict[str, Tensor]:
    """Undo `pack`: ``[n, B]`` to the tensors ``[n, ...]``."""
    tensors: dict[str, Tensor] = {}
    end = 0
    for entry in layout:
        part = rows[:, end : (end := end + entry.bytes)]
        # A copy, because numbers must be aligned to their type.
        column = part.clone(memory_format=torch.contiguous_format).flatten().view(entry.type)
        tensors[entry.name] = column.reshape(len(rows), *entry.shape)
    return tensors


def write_layout(layout: Layout) -> str:
    """Return a layout as JSON."""
    return json.dumps(layout)


def read_layout(text: str) -> Layout:
    """Undo `write_layout`.

    Raises
    ------
    ValueError
        If ``text`` is not a layout.
    """
    try:
        layout = tuple(Entry(str(name), str(dtype), tuple(map(int, shape))) for name, dtype, shape in json.loads(text))
        known = all(isinstance(entry.type, torch.dtype) for entry in layout)
    except (TypeError, AttributeError) as error:
        raise ValueError(f"invalid layout of rows ({error})") from error
    if not known:
        raise ValueError("invalid layout of rows: an entry's type is not numeric")
    return layout


def largest(tensors: Weights) -> Tensor:
    """Return the largest absolute value of every row ``[n]``; inf or NaN if the row contains one."""
    count = len(next(iter(tensors.values())))
    found = torch.zeros(count)
    for tensor in tensors.values():
        if tensor.is_floating_point() and tensor.numel():
            found = torch.maximum(found, tensor.detach().abs().reshape(count, -1).amax(1).float().cpu())
    return found
