"""Move pictures at random: pad them, and cut out a part of the size that they had."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from sglr.core.defence import option
from sglr.data.picture_augmentation import BLACK, PictureAugmentation

__all__ = ["RandomCrop"]


@dataclass(frozen=True)
class RandomCrop(PictureAugmentation):
    """Cut a part of the picture's size out of the padded picture."""

    padding: int = option(4, "pixels that are added at each side", least=1, most=4096)
    padding_mode: Literal["constant", "reflect", "replicate"] = field(
        default="constant", metadata={"help": "what is added: fill, the mirrored picture, or its edge"}
    )
    fill: float = option(BLACK, "value of added pixels; black by default")
    mask_fill: int = option(0, "number that a mask has there")

    def change_picture(
        self, picture: Tensor, mask: Tensor | None, rng: torch.Generator
    ) -> tuple[Tensor, Tensor | None]:
        """Return the part."""
        top, left = torch.randint(2 * self.padding + 1, (2,), generator=rng).tolist()

        def cut(values: Tensor, fill: float) -> Tensor:
            height, width = values.shape[-2:]
            return self._padded(values, fill)[..., top : top + height, left : left + width]

        return cut(picture, self.fill), None if mask is None else cut(mask, self.mask_fill)

    def _padded(self, values: Tensor, fill: float) -> Tensor:
        sides = (self.padding,) * 4
        if self.padding_mode == "constant":
            return F.pad(values, sides, value=fill)
        # Of other modes torch wants floats with a channel; numbers of classes are exact in double precision.
        rows = values.reshape(-1, *values.shape[-2:]).double()
        return (
            F.pad(rows, sides, mode=self.padding_mode)
            .to(values.dtype)
            .reshape(*values.shape[:-2], -1, rows.shape[-1] + 2 * self.padding)
        )
