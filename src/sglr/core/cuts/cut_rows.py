"""Rows of smashed data of different cuts side by side: flat, as long as the longest, with the cut's number at the end.

So a step stays one tensor ``[C, b, W]``, whose samples a method may draw and lay together as any others.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional


class StageRates(NamedTuple):
    """The learning rate of each stage of the server's segment: between a cut and the next, the last behind all cuts."""

    rates: tuple[float, ...]


@dataclass(frozen=True)
class CutRows:
    """Which cut each row of a step has.

    Parameters
    ----------
    places
        The number of each row's cut, C of them; 0 is the cut nearest to the input.
    shapes
        Shape of one sample's smashed data at every cut, K of them.
    """

    places: tuple[int, ...]
    shapes: tuple[tuple[int, ...], ...]

    @property
    def width(self) -> int:
        """W, numbers of one sample's row: those of the largest cut, and the number of its own."""
        return width_of(self.shapes)

    def only(self, row: int) -> CutRows:
        """Return the cut of one row alone."""
        return CutRows((self.places[row],), self.shapes)

    def groups(self) -> Iterator[tuple[int, list[int]]]:
        """Yield every cut that occurs, from the first, with its rows."""
        for cut in sorted(set(self.places)):
            yield cut, [row for row, place in enumerate(self.places) if place == cut]


def width_of(shapes: Sequence[tuple[int, ...]]) -> int:
    """Return W, given the shapes of one sample's smashed data at all cuts."""
    return max(map(prod, shapes)) + 1


def to_rows(values: Tensor, cut: int, width: int, leading: int = 2) -> Tensor:
    """Return smashed data ``[n, b, ...]`` of one cut as rows ``[n, b, W]``, with ``leading`` dimensions before them."""
    flat = values.flatten(leading)
    padded = functional.pad(flat, (0, width - flat.shape[-1]))
    padded[..., -1] = cut
    return padded


def of_rows(rows: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return what `to_rows` made rows of, ``[..., W]``, or gradients by it."""
    return torch.unflatten(rows[..., : prod(shape)], -1, shape) if shape else rows[..., 0]
