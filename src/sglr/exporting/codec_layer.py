"""What a codec makes of smashed data, in operations that every format has."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sglr.compression.codecs import Float16, TopK
from sglr.compression.each_way import EachWay
from sglr.core.codec import Codec
from sglr.parties.packed_codec import PackedCodec


def codec_layer(codec: Codec) -> nn.Module:
    """Return a layer that gives what ``codec.received`` gives, and that can be traced for batches of any size."""
    if isinstance(codec, EachWay):
        return codec_layer(codec.up)
    if isinstance(codec, PackedCodec):
        return EachValue(codec)
    if isinstance(codec, TopK):
        return Largest(codec)
    return Scaled() if isinstance(codec, Float16) else Rounded(codec)


class EachValue(nn.Module):
    """A codec that writes each learned value of rows in its own shape, and leaves what is beside them.

    Parameters
    ----------
    codec
        The codec.
    """

    def __init__(self, codec: PackedCodec) -> None:
        super().__init__()
        self.crossing, self.layer = codec.crossing, codec_layer(codec.codec)

    def forward(self, rows: Tensor) -> Tensor:
        """Return rows ``[b, L + 2 M]`` as the server decodes them."""
        parts, start = [], 0
        for value in self.crossing.learned:
            own = rows[:, start : start + value.size].reshape(-1, *value.shape)
            parts.append(self.layer(own).reshape(-1, value.size))
            start += value.size
        return torch.cat([*parts, rows[:, start:]], 1)


class Rounded(nn.Module):
    """A codec that rounds each value, and can be traced as it is.

    Parameters
    ----------
    codec
        The codec.
    """

    def __init__(self, codec: Codec) -> None:
        super().__init__()
        self.codec = codec

    def forward(self, smashed: Tensor) -> Tensor:
        """Return smashed data ``[b, ...]`` as the server decodes them."""
        return self.codec.received(smashed)


class Largest(nn.Module):
    """``topk``: zeros in place of all values that are not sent, without the positions that are.

    Parameters
    ----------
    codec
        The codec.
    """

    def __init__(self, codec: TopK) -> None:
        super().__init__()
        self.codec = codec

    def forward(self, smashed: Tensor) -> Tensor:
        """Return smashed data ``[b, ...]`` with the largest values of each sample; of equal ones, the first."""
        flat = smashed.flatten(1)
        kept = self.codec.layout((1, *smashed.shape[1:]))["values"][1][1]
        size = torch.nan_to_num(flat.abs(), nan=torch.inf, posinf=torch.inf)
        least = size.topk(kept, dim=1).values[:, -1:]
        larger, equal = size > least, size == least
        room = kept - larger.long().sum(1, keepdim=True)
        chosen = larger | (equal & (equal.long().cumsum(1) <= room))
        return torch.where(chosen, flat, 0.0).reshape(smashed.shape)


class Scaled(nn.Module):
    """``fp16`` with a power of two for each sample, found by a logarithm: formats have no ``frexp``.

    Where the logarithm is rounded to the next power, the scale is half or twice that of the codec. That changes only
    values below 2^-28 of the sample's largest.
    """

    def forward(self, smashed: Tensor) -> Tensor:
        """Return smashed data ``[b, ...]`` as they are in 16 bits."""
        largest = smashed.flatten(1).abs().amax(1)
        exponent = torch.where(largest > 0, largest.clamp(min=2.0**-126).log2().floor() - 14, -15.0)
        scale = torch.pow(2.0, exponent.clamp(-126, 127)).reshape(-1, *(1,) * (smashed.dim() - 1))
        return (smashed / scale).to(torch.float16).float() * scale
