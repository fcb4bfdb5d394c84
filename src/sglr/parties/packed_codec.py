"""How rows of several values are written: each learned value in its own shape, and integers beside them as they are."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from sglr.core.codec import Codec, Layout
from sglr.core.errors import UsageError
from sglr.splitting import Crossing
from sglr.splitting.crossing import halves, joined

BESIDE = "beside"
"""The part of a message that holds the integers beside what is learned, int32 ``[b, M]``."""


@dataclass(frozen=True)
class PackedCodec(Codec):
    """Writes rows ``[b, L + 2 M]`` of several values.

    Each learned value is written by itself in its own shape, so that levels of ``int8`` are those of its own channels,
    and ``topk`` keeps a share of each. Integers arrive untouched, and gradients have none.

    Parameters
    ----------
    codec
        How learned values are written.
    crossing
        What crosses.
    of_samples
        True for smashed data, which have integers beside them; False for gradients by them.
    bounds
        Smallest and largest number that each value beside may have; empty if all of its type may be.
    """

    codec: Codec = dataclasses.field(kw_only=True)
    crossing: Crossing = dataclasses.field(kw_only=True)
    of_samples: bool = True
    bounds: tuple[tuple[int, int], ...] = ()

    @property
    def of_gradients(self) -> Codec:
        """How gradients by rows are written: without what is beside, by which there are none."""
        codec = self.codec.of_gradients
        return dataclasses.replace(self, feedback=codec.feedback, codec=codec, of_samples=False)

    @property
    def exact(self) -> bool:
        """True if the learned values arrive as they are."""
        return self.codec.exact

    @property
    def each_way(self) -> bool:
        """As the codec of learned values."""
        return self.codec.each_way

    def bytes_beside(self, shape: tuple[int, ...]) -> int:
        """Return four bytes for each integer."""
        return 4 * shape[0] * self.crossing.beside_size if self._has_beside else 0

    def learned(self, values: Tensor) -> Tensor:
        """Return the learned numbers ``[b, L]`` of rows."""
        return values[..., : self.crossing.learned_size]

    def encode(self, values: Tensor) -> dict[str, Tensor]:
        """Write each learned value, and the integers."""
        parts: dict[str, Tensor] = {}
        sizes = [value.size for value in self.crossing.learned]
        own = torch.split(self.learned(values), sizes, 1)
        for number, (value, part) in enumerate(zip(self.crossing.learned, own, strict=True)):
            written = self.codec.encode(part.reshape(len(part), *value.shape))
            parts |= {f"{number}.{name}": tensor for name, tensor in written.items()}
        if self._has_beside:
            beside = values[:, self.crossing.learned_size :]
            self._check_fitting(beside)
            parts[BESIDE] = joined(*torch.split(beside, self.crossing.beside_size, 1))
        return parts

    def layout(self, shape: tuple[int, ...]) -> Layout:
        """Return the layouts of all learned values, and four bytes for each integer."""
        count, found = shape[0], Layout()
        for number, value in enumerate(self.crossing.learned):
            own = self.codec.layout((count, *value.shape))
            found |= {f"{number}.{name}": part for name, part in own.items()}
        if self._has_beside:
            found[BESIDE] = (torch.int32, (count, self.crossing.beside_size))
        return found

    def _decode(self, parts: Mapping[str, Tensor], shape: tuple[int, ...]) -> Tensor:
        rows = []
        for number, value in enumerate(self.crossing.learned):
            prefix = f"{number}."
            own = {name.removeprefix(prefix): part for name, part in parts.items() if name.startswith(prefix)}
            rows.append(self.codec.decode(own, (shape[0], *value.shape)).reshape(shape[0], value.size))
        if self._has_beside:
            self._check(parts[BESIDE])
            rows += halves(parts[BESIDE])
        else:
            rows.append(rows[0].new_zeros(shape[0], shape[1] - self.crossing.learned_size))
        return torch.cat(rows, 1)

    @property
    def _has_beside(self) -> bool:
        return self.of_samples and bool(self.crossing.beside)

    def _check_fitting(self, beside: Tensor) -> None:
        """Refuse integers that were too large to be halved, ``[b, 2 M]``.

        Raises
        ------
        UsageError
            If there are some; the message names the value.
        """
        upper = torch.split(beside[:, : self.crossing.beside_size], [each.size for each in self.crossing.beside], 1)
        for value, part in zip(self.crossing.beside, upper, strict=True):
            if value.dtype == torch.int64 and bool(part.isnan().any()):
                problem = "a number that crosses the cut beside what is learned does not fit in 32 bits"
                raise UsageError("cut", str(value), problem, "give smaller numbers, or cut elsewhere")

    def _check(self, whole: Tensor) -> None:
        """Refuse integers ``[b, M]`` that the upper segment can't take."""
        each = torch.split(whole, [value.size for value in self.crossing.beside], 1)
        for value, part, (least, most) in zip(self.crossing.beside, each, self.bounds, strict=bool(self.bounds)):
            if value.dtype.is_floating_point:
                if bool(part.contiguous().view(torch.float32).isnan().any()):
                    raise ValueError(f"{value.name} is not a number")
            elif bool(((part < least) | (part > most)).any()):
                raise ValueError(f"{value.name} is outside {least} to {most}")


def packed_codec(codec: Codec, crossing: Crossing | None, bounds: tuple[tuple[int, int], ...] = ()) -> Codec:
    """Return how what crosses is written: by ``codec`` itself, if it is one tensor, or floats that stay as they are."""
    if crossing is None or (codec.exact and codec.of_gradients.exact and not crossing.beside):
        return codec
    return PackedCodec(codec.feedback, codec=codec, crossing=crossing, bounds=bounds)
