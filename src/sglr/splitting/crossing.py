"""What crosses a cut: one tensor as it is, or several values, packed in one row for each sample.

A raw segment may return any nest of tensors: a tuple, a dict, a dataclass. What is *learned*, which gradients pass
through, comes first in the row, one value after another. *Beside* it come values that are not learned, such as masks
and token numbers: each as an integer of 32 bits, in two numbers of 16 bits, which float32 holds exactly (the first is
not a number where an integer is larger: codecs refuse it by the value's name). No codec and
no defence changes these, and between machines they are sent as integers. Constants that don't depend on the input, and
the size of the batch, are not sent. Where one learned tensor crosses, it is sent in its own shape.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor

from sglr.splitting.nest import Nest, leaves_of

HALF = 1 << 16
"""A value beside is two numbers, of which the second is below this."""


@dataclass(frozen=True)
class Value:
    """A value that crosses.

    Parameters
    ----------
    name
        Its place in what the lower segment returns, such as ``"[0]"`` or ``"['mask']"``; empty if it is all.
    shape
        Of one sample.
    dtype
        Its type.
    """

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def size(self) -> int:
        """Numbers of one sample."""
        return prod(self.shape)

    def __str__(self) -> str:
        """Return its name, type and shape."""
        return f"{self.name or 'output'} {str(self.dtype).removeprefix('torch.')} {list(self.shape)}"


@dataclass(frozen=True)
class Constant:
    """A value that is the same for all inputs, which the upper segment has of its own."""

    value: Any


@dataclass(frozen=True)
class BatchSize:
    """A number that is the size of the batch."""


Slot = Value | Constant | BatchSize
"""Where a value of the nest comes from, at the upper segment."""


@dataclass(frozen=True)
class Crossing:
    """What crosses a cut.

    Parameters
    ----------
    nest
        How the values are nested.
    slots
        Where each comes from, in the order of the nest.
    learned, beside
        The values of a row, in its order: those that gradients pass through, and the others.
    """

    nest: Nest
    slots: tuple[Slot, ...]
    learned: tuple[Value, ...]
    beside: tuple[Value, ...]

    @property
    def single(self) -> bool:
        """Whether one learned tensor is all that is sent, which then keeps its shape."""
        return len(self.learned) == 1 and not self.beside

    @property
    def learned_size(self) -> int:
        """Learned numbers of one sample, L."""
        return sum(value.size for value in self.learned)

    @property
    def beside_size(self) -> int:
        """Integers of one sample beside them, M."""
        return sum(value.size for value in self.beside)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one sample's smashed data: ``[L + 2 M]``, or that of a single tensor."""
        return self.learned[0].shape if self.single else (self.learned_size + 2 * self.beside_size,)

    def pack(self, values: Any) -> Tensor:
        """Return the rows ``[b, L + 2 M]`` of what a lower segment returned."""
        leaves = leaves_of(values)
        found = {slot.name: leaf for slot, leaf in zip(self.slots, leaves, strict=True) if isinstance(slot, Value)}
        if self.single:
            single: Tensor = found[self.learned[0].name]
            return single
        learned = [found[value.name].flatten(1) for value in self.learned]
        if not self.beside:
            return torch.cat(learned, 1)
        beside = [_halves_of(found[value.name].flatten(1)) for value in self.beside]
        return torch.cat([*learned, *(half for pair in zip(*beside, strict=True) for half in pair)], 1)

    def unpack(self, rows: Tensor) -> Any:
        """Return what an upper segment takes, of rows ``[b, L + 2 M]``."""
        found = {self.learned[0].name: rows} if self.single else self._values(rows)
        return self.nest.filled(iter([_filled(slot, found, rows) for slot in self.slots]))

    def _values(self, rows: Tensor) -> dict[str, Tensor]:
        learned, beside = rows[:, : self.learned_size], rows[:, self.learned_size :]
        # A layer may change it in place, which autograd forbids for a view of what arrived.
        parts = [part.clone(memory_format=torch.contiguous_format) for part in _parted(learned, self.learned)]
        found = {value.name: part.reshape(-1, *value.shape) for value, part in zip(self.learned, parts, strict=True)}
        if not self.beside:
            return found
        whole = joined(*torch.split(beside.detach(), self.beside_size, 1))
        for value, part in zip(self.beside, _parted(whole, self.beside), strict=True):
            found[value.name] = _of_type(part, value.dtype).reshape(-1, *value.shape)
        return found

    def __str__(self) -> str:
        """Return what crosses, in one line."""
        learned = ", ".join(map(str, self.learned))
        return learned + (f"; beside: {', '.join(map(str, self.beside))}" if self.beside else "")


def _filled(slot: Slot, found: dict[str, Tensor], rows: Tensor) -> Any:
    if isinstance(slot, Value):
        return found[slot.name]
    if isinstance(slot, BatchSize):
        return rows.shape[0]
    return slot.value.to(rows.device) if isinstance(slot.value, Tensor) else slot.value


def _parted(rows: Tensor, values: tuple[Value, ...]) -> tuple[Tensor, ...]:
    return torch.split(rows, [value.size for value in values], 1)


def _of_type(whole: Tensor, dtype: torch.dtype) -> Tensor:
    return whole.view(torch.float32).to(dtype) if dtype.is_floating_point else whole.to(dtype)


def _integers(values: Tensor) -> Tensor:
    """Return values as integers of 32 bits: floats by their bits."""
    return values.float().view(torch.int32) if values.is_floating_point() else values.to(torch.int32)


def _halves_of(values: Tensor) -> tuple[Tensor, Tensor]:
    """Return the halves of integers of 32 bits; of one that does not fit them, what is not a number."""
    upper, lower = halves(_integers(values))
    if values.dtype != torch.int64:
        return upper, lower
    return torch.where(values.to(torch.int32) == values, upper, torch.nan), lower


def halves(whole: Tensor) -> tuple[Tensor, Tensor]:
    """Return integers of 32 bits ``[b, M]`` as two of 16, float32."""
    upper = torch.div(whole, HALF, rounding_mode="floor")
    return upper.float(), (whole - upper * HALF).float()


def joined(upper: Tensor, lower: Tensor) -> Tensor:
    """Return the integers of 32 bits ``[b, M]`` that `halves` took apart."""
    return (upper.to(torch.int64) * HALF + lower.to(torch.int64)).to(torch.int32)
