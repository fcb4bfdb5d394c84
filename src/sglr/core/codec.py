"""The protocol of a codec: how smashed data and cut-layer gradients are written, and read again.

Every sample is written by itself: its code depends on no other sample, so batches may be cut and joined anywhere, on
any engine, and a sample always takes the same bytes. No codec draws random numbers. A codec says beforehand which parts
it sends, of which type and shape, so that a receiver can refuse anything else before it allocates. A sample with a
value that is not finite is not finite when it is decoded, so that it can be refused there.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Protocol

import torch
from torch import Tensor

Layout = dict[str, tuple[torch.dtype, tuple[int, ...]]]
"""Type and shape of every part by name, in the order in which parts are sent."""


class CodecByCut(Protocol):
    """How smashed data of each cut are written: all alike (any `Codec`), or those of each cut by a codec of its own."""

    def of_cut(self, cut: int) -> Codec:
        """Return how smashed data of a cut are written; 0 is the only cut where all clients are cut alike."""


@dataclass(frozen=True)
class Codec(ABC):
    """Writes values ``[b, ...]`` float32 of b samples as named parts ``[b, ...]``, and reads them.

    Parameters
    ----------
    feedback
        Is what the code lost in one step added in the next (`sglr.compression.error_feedback.ErrorFeedbackChannel`)?
    """

    feedback: bool = False

    @property
    def exact(self) -> bool:
        """True if values arrive as they are, so that nothing has to be done about them in one process."""
        return False

    @abstractmethod
    def encode(self, values: Tensor) -> dict[str, Tensor]:
        """Return the parts that go on the wire for ``values`` ``[b, ...]`` float32."""

    @abstractmethod
    def layout(self, shape: tuple[int, ...]) -> Layout:
        """Return type and shape of every part of values of ``shape``."""

    @abstractmethod
    def _decode(self, parts: Mapping[str, Tensor], shape: tuple[int, ...]) -> Tensor:
        """Return the values of parts that fit the layout."""

    def decode(self, parts: Mapping[str, Tensor], shape: tuple[int, ...]) -> Tensor:
        """Return values of ``shape``, float32.

        Raises
        ------
        ValueError
            If the parts are not those of `layout`, or contradict themselves.
        """
        wanted = self.layout(shape)
        found = {name: (part.dtype, tuple(part.shape)) for name, part in parts.items()}
        if found != wanted:
            raise ValueError(f"parts are {found}, not {wanted}")
        return self._decode(parts, shape)

    @property
    def of_gradients(self) -> Codec:
        """How gradients by the values are written."""
        return self

    def of_cut(self, cut: int) -> Codec:
        """Return itself: smashed data of all cuts are written alike (`CodecByCut`)."""
        del cut
        return self

    @property
    def each_way(self) -> bool:
        """True if gradients are written by a codec of their own."""
        return False

    def bytes_beside(self, shape: tuple[int, ...]) -> int:
        """Return how many of the bytes are of what goes beside learned values, and has no gradients."""
        del shape
        return 0

    def learned(self, values: Tensor) -> Tensor:
        """Return the part of values ``[b, ...]`` that gradients pass through: all, unless several values are packed."""
        return values

    def bytes(self, shape: tuple[int, ...]) -> int:
        """Return how many bytes the parts of values of ``shape`` take."""
        return sum(dtype.itemsize * prod(size) for dtype, size in self.layout(shape).values())

    def received(self, values: Tensor) -> Tensor:
        """Return what the other side has of ``values`` ``[b, ...]``."""
        return self.decode(self.encode(values), tuple(values.shape))


@dataclass(frozen=True)
class Plain(Codec):
    """``none``: the values as they are."""

    @property
    def exact(self) -> bool:
        """True."""
        return True

    def encode(self, values: Tensor) -> dict[str, Tensor]:
        """Return the values."""
        return {"values": values}

    def layout(self, shape: tuple[int, ...]) -> Layout:
        """Return four bytes per value."""
        return {"values": (torch.float32, shape)}

    def _decode(self, parts: Mapping[str, Tensor], shape: tuple[int, ...]) -> Tensor:
        del shape
        return parts["values"]
