"""Codecs: bfloat16, float16, int8, int4, int2 and top-k, one frozen object each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import pad

from sglr.core.codec import Codec, Layout


@dataclass(frozen=True)
class Bfloat16(Codec):
    """``bf16``: 8 bits of precision over the whole range of float32."""

    def encode(self, values: Tensor) -> dict[str, Tensor]:
        """Round to the nearest."""
        return {"values": values.to(torch.bfloat16)}

    def layout(self, shape: tuple[int, ...]) -> Layout:
        """Return two bytes per value."""
        return {"values": (torch.bfloat16, shape)}

    def _decode(self, parts: Mapping[str, Tensor], shape: tuple[int, ...]) -> Tensor:
        del shape
        return parts["values"].float()


@dataclass(frozen=True)
class Float16(Codec):
    """``fp16``: 11 bits of precision, with a power of two for each sample.

    Cut-layer gradients are often below 6e-5, where plain fp16 loses precision, and activations of a diverging model
    may exceed 65504. The power of two costs four bytes and moves both into fp16's range without rounding.
    """

    def encode(self, values: Tensor) -> dict[str, Tensor]:
        """Round to the nearest, at the scale of the sample's largest value."""
        if not values.numel():
            return {"values": values.to(torch.float16), "scale": values.new_ones(len(values))}
        # The largest value is scaled below 2^15, so that rounding up can't exceed fp16's range.
        largest = values.reshape(len(values), -1).abs().amax(1)
        exponent = (torch.frexp(largest).exponent - 15).clamp(-126, 127)
        scale = torch.ldexp(torch.ones_like(largest), exponent)
        return {"values": (values / _along(scale, values)).to(torch.float16), "scale": scale}

    def layout(self, shape: tuple[int, ...]) -> Layout:
        """Return two bytes per value, and four per sample."""
        return {"values": (torch.float16, shape), "scale": (torch.float32, shape[:1])}

    def _decode(self, parts: Mapping[str, Tensor], shape: tuple[int, ...]) -> Tensor:
        del shape
        values = parts["values"].float()
        return values * _along(parts["scale"], values)


SMALL_CHANNEL = 32
"""Channels with fewer values share levels, because the overhead would be too large: 5 bytes for 32 are 16 %."""


@dataclass(frozen=True)
class Int8(Codec):
    """``int8``: 256 levels between the smallest and the largest value of each channel of a sample; one level is zero.

    Levels are affine: after a ReLU nothing is negative, so half of symmetric levels would be unused. A channel is
    dimension 1 of ``[b, channels, ...]``. If it has few values (one in ``[b, features]``), all values of the
    sample share their levels. Levels over several samples would save at most those 16 %, and make a sample's code
    depend on the other samples of its batch.
    """

    def encode(self, values: Tensor) -> dict[str, Tensor]:
        """Round to the nearest level."""
        groups = _groups(tuple(values.shape))
        if not values.numel():
            scale = values.new_zeros(groups)
            return {"values": values.to(torch.int8), "scale": scale, "zero": scale.to(torch.int8)}
        rows = values.reshape(*groups, -1)
        least, largest = rows.amin(-1).clamp(max=0), rows.amax(-1).clamp(min=0)
        scale = largest / 255 - least / 255
        step = torch.where(scale > 0, scale, 1.0)
        zero = torch.nan_to_num(-128 - (least / step).round()).clamp(-128, 127)
        levels = torch.nan_to_num((rows / step[..., None]).round() + zero[..., None]).clamp(-128, 127)
        return {"values": levels.to(torch.int8).reshape(values.shape), "scale": scale, "zero": zero.to(torch.int8)}

    def layout(self, shape: tuple[int, ...]) -> Layout:
        """Return a byte per value, and five per channel or sample."""
        groups = _groups(shape)
        return {"values": (torch.int8, shape), "scale": (torch.float32, groups), "zero": (torch.int8, groups)}

    def _decode(self, parts: Mapping[str, Tensor], shape: tuple[int, ...]) -> Tensor:
        del shape
        levels = parts["values"].float()
        return (levels - _along(parts["zero"].float(), levels)) * _along(parts["scale"], levels)


def _groups(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of the sets of levels: one per channel and sample, or one per sample."""
    return shape[:2] if prod(shape[2:]) >= SMALL_CHANNEL else shape[:1]


def _along(first: Tensor, values: Tensor) -> Tensor:
    """Append dimensions of size 1 to ``first``, so that it broadcasts to ``values``."""
    return first.reshape(*first.shape, *(1,) * (values.dim() - first.dim()))


GROUP = 64
"""Values of a sample that share levels: their 5 bytes are 16 % of what 64 take in ``int4``, 3 are 19 % in ``int2``."""


@dataclass(frozen=True)
class FewLevels(Codec):
    """Few levels between the smallest and the largest of 64 values of a sample; one level is zero.

    Values are grouped as they lie in a sample, the last group being smaller, and a byte holds several, the first in
    the lowest bits. Groups are smaller than the channels of ``int8``: with few levels, one large value costs all others
    of its group much.
    """

    bits: ClassVar[int]
    scaled_by: ClassVar[torch.dtype]
    """Type of the distance between levels, of which there is one for each group."""

    @property
    def _highest(self) -> int:
        """The highest level."""
        return (1 << self.bits) - 1

    def _bytes_of_levels(self, values: int) -> int:
        return -(-values * self.bits // 8)

    def encode(self, values: Tensor) -> dict[str, Tensor]:
        """Round to the nearest level."""
        levels, scale, zero = self._rounded(values)
        each = 8 // self.bits
        rows = torch.unflatten(levels.to(torch.uint8), -1, (GROUP // each, each))
        packed = sum((rows[..., place] << place * self.bits for place in range(1, each)), rows[..., 0])
        size = self._bytes_of_levels(prod(values.shape[1:]))
        return {
            "values": packed.flatten(1)[:, :size].contiguous(),
            "scale": scale.to(self.scaled_by),
            "zero": zero.to(torch.uint8),
        }

    def layout(self, shape: tuple[int, ...]) -> Layout:
        """Return the bits of each value, in whole bytes, and the scale and the zero of each group."""
        groups, size = (shape[0], _grouped(shape)), (shape[0], self._bytes_of_levels(prod(shape[1:])))
        return {"values": (torch.uint8, size), "scale": (self.scaled_by, groups), "zero": (torch.uint8, groups)}

    def received(self, values: Tensor) -> Tensor:
        """Return what the other side has of ``values`` ``[b, ...]``, without writing it."""
        return self._valued(*self._rounded(values), tuple(values.shape))

    def _decode(self, parts: Mapping[str, Tensor], shape: tuple[int, ...]) -> Tensor:
        packed, groups = parts["values"], _grouped(shape)
        packed = pad(packed, (0, groups * GROUP * self.bits // 8 - packed.shape[1]))
        places = range(0, 8, self.bits)
        levels = torch.stack([(packed >> place) & self._highest for place in places], -1)
        levels = levels.reshape(shape[0], groups, GROUP)
        return self._valued(levels.float(), parts["scale"].float(), parts["zero"].float(), shape)

    def _rounded(self, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return levels ``[b, groups, 64]``, and of each group the scale and the level of zero."""
        width, groups = prod(values.shape[1:]), _grouped(tuple(values.shape))
        flat = pad(values.flatten(1) if values.dim() > 1 else values[:, None], (0, groups * GROUP - width))
        rows = flat.reshape(flat.shape[0], groups, GROUP)
        least, largest = rows.amin(-1).clamp(max=0), rows.amax(-1).clamp(min=0)
        scale = (largest / self._highest - least / self._highest).to(self.scaled_by).float()
        # Where values are finite, so is what arrives, if the levels reach as far as float32 does.
        reach = scale.clamp(max=torch.finfo(scale.dtype).max / 2**self.bits)
        scale = torch.where(scale.isinf(), scale, reach)
        step = torch.where(scale > 0, scale, 1.0)
        zero = torch.nan_to_num(-(least / step).round()).clamp(0, self._highest)
        levels = torch.nan_to_num((rows / step[..., None]).round() + zero[..., None]).clamp(0, self._highest)
        return levels, scale, zero

    def _valued(self, levels: Tensor, scale: Tensor, zero: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Undo `_rounded`."""
        rows = (levels - zero[..., None]) * scale[..., None]
        flat = rows.flatten(1)
        return flat[:, : prod(shape[1:])].reshape(shape)


@dataclass(frozen=True)
class Int4(FewLevels):
    """``int4``: 16 levels, two of which are in a byte, and five bytes for each group."""

    bits = 4
    scaled_by = torch.float32


@dataclass(frozen=True)
class Int2(FewLevels):
    """``int2``: 4 levels, four of which are in a byte, and three bytes for each group: the scale is in bfloat16."""

    bits = 2
    scaled_by = torch.bfloat16


def _grouped(shape: tuple[int, ...]) -> int:
    """Return the number of groups of a sample."""
    return -(-prod(shape[1:]) // GROUP)


@dataclass(frozen=True)
class TopK(Codec):
    """``topk:SHARE``: the values of largest magnitude of each sample, and their positions.

    Of equal magnitudes, the first are kept. Positions ascend, so that none can occur twice.
    """

    share: float = 0.1

    def _kept(self, shape: tuple[int, ...]) -> tuple[int, int]:
        """Return how many values of a sample are kept, and how many there are."""
        width = prod(shape[1:])
        return min(width, max(1, round(self.share * width))), width

    def encode(self, values: Tensor) -> dict[str, Tensor]:
        """Keep the largest."""
        kept, width = self._kept(tuple(values.shape))
        flat = values.reshape(len(values), width)
        if not values.numel():
            return {"values": flat[:, :kept], "indices": flat[:, :kept].to(torch.int32)}
        size = torch.nan_to_num(flat.abs(), nan=torch.inf, posinf=torch.inf)
        least = size.topk(kept, dim=1).values[:, -1:]
        larger, equal = size > least, size == least
        room = kept - larger.sum(1, keepdim=True)
        chosen = larger | (equal & (equal.cumsum(1) <= room))
        places = chosen.nonzero()[:, 1].reshape(len(values), kept)
        return {"values": flat.gather(1, places), "indices": places.to(torch.int32)}

    def layout(self, shape: tuple[int, ...]) -> Layout:
        """Return eight bytes per kept value."""
        size = (shape[0], self._kept(shape)[0])
        return {"values": (torch.float32, size), "indices": (torch.int32, size)}

    def _decode(self, parts: Mapping[str, Tensor], shape: tuple[int, ...]) -> Tensor:
        places, width = parts["indices"].long(), self._kept(shape)[1]
        if bool(((places < 0) | (places >= width)).any()):
            raise ValueError(f"a position is outside the {width} values of a sample")
        if bool((places.diff(dim=1) <= 0).any()):
            raise ValueError("the positions of a sample do not ascend")
        zeros = parts["values"].new_zeros(shape[0], width)
        return zeros.scatter_(1, places, parts["values"]).reshape(shape)
