"""Codecs: bfloat16, float16, int8 and top-k, one frozen object each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

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

    Cut-layer gradients are often below 6e-5, where fp16 by itself loses digits, and activations of a model that learns
    too fast may pass 65504. The power of two costs four bytes and moves both into fp16's range without rounding.
    """

    def encode(self, values: Tensor) -> dict[str, Tensor]:
        """Round to the nearest, at the scale of the sample's largest value."""
        if not values.numel():
            return {"values": values.to(torch.float16), "scale": values.new_ones(len(values))}
        # Largest values come below 2^15, where rounding up can't pass the end of fp16.
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
"""Values of a channel below which levels of its own would cost too much: 5 bytes for 32 are 16 %."""


@dataclass(frozen=True)
class Int8(Codec):
    """``int8``: 256 levels between the least and the largest value of each channel of a sample, zero being one of them.

    Levels are affine: after a ReLU nothing is negative, and half of symmetric levels would be idle. A channel is
    dimension 1 of ``[b, channels, ...]``. Where it has few values (in ``[b, features]`` it has one), all values of the
    sample share their levels. Levels over several samples would save at most those 16 %, and make a sample's code
    depend on who is beside it.
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
    """Return the shape of what has levels of its own: channels of samples, or samples."""
    return shape[:2] if prod(shape[2:]) >= SMALL_CHANNEL else shape[:1]


def _along(first: Tensor, values: Tensor) -> Tensor:
    """Give ``first``, of the first dimensions of ``values``, all of its dimensions."""
    return first.reshape(*first.shape, *(1,) * (values.dim() - first.dim()))


@dataclass(frozen=True)
class TopK(Codec):
    """``topk:SHARE``: of each sample, the values that are largest by magnitude, and where they stand.

    Of equal magnitudes the first are kept. Places ascend, so that none can be named twice.
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
            raise ValueError(f"a place is outside the {width} values of a sample")
        if bool((places.diff(dim=1) <= 0).any()):
            raise ValueError("the places of a sample do not ascend")
        zeros = parts["values"].new_zeros(shape[0], width)
        return zeros.scatter_(1, places, parts["values"]).reshape(shape)
