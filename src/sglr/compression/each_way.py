"""One codec for smashed data and another for their gradients."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from torch import Tensor

from sglr.core.codec import Codec, Layout


@dataclass(frozen=True)
class EachWay(Codec):
    """``up=…,down=…``: writes smashed data by one codec, and gradients by another.

    Parameters
    ----------
    up, down
        The codecs of smashed data and of gradients by them.
    """

    up: Codec = dataclasses.field(kw_only=True)
    down: Codec = dataclasses.field(kw_only=True)

    @classmethod
    def of(cls, up: Codec, down: Codec) -> Self:
        """Put two codecs together."""
        return cls(up.feedback, up=up, down=down)

    @property
    def exact(self) -> bool:
        """True if smashed data arrive as they are."""
        return self.up.exact

    @property
    def of_gradients(self) -> Codec:
        """How gradients are written."""
        return self.down

    @property
    def each_way(self) -> bool:
        """True."""
        return True

    def encode(self, values: Tensor) -> dict[str, Tensor]:
        """Write smashed data."""
        return self.up.encode(values)

    def layout(self, shape: tuple[int, ...]) -> Layout:
        """Return the layout of smashed data."""
        return self.up.layout(shape)

    def received(self, values: Tensor) -> Tensor:
        """Return what the server has of smashed data."""
        return self.up.received(values)

    def _decode(self, parts: Mapping[str, Tensor], shape: tuple[int, ...]) -> Tensor:
        return self.up.decode(parts, shape)
