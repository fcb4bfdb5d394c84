"""Turn pictures by a random angle."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from sglr.core.defence import option
from sglr.data.picture_augmentation import BLACK, PictureAugmentation, uniform

__all__ = ["Rotation"]


@dataclass(frozen=True)
class Rotation(PictureAugmentation):
    """Turn a picture around its middle by up to some degrees in either direction; what leaves its frame is lost."""

    degrees: float = option(10.0, "largest angle", above=0, most=180)
    fill: float = option(BLACK, "value of pixels that come in from outside; black by default")
    mask_fill: int = option(0, "number that a mask has there")

    def change_picture(
        self, picture: Tensor, mask: Tensor | None, rng: torch.Generator
    ) -> tuple[Tensor, Tensor | None]:
        """Return the turned picture: pixels are interpolated, numbers of a mask are those of the nearest pixel."""
        angle = math.radians(uniform(-self.degrees, self.degrees, rng))
        turned = self._turned(picture, angle, "bilinear", self.fill)
        return turned, None if mask is None else self._turned(mask, angle, "nearest", self.mask_fill)

    def _turned(self, values: Tensor, angle: float, mode: str, fill: float) -> Tensor:
        height, width = values.shape[-2:]
        cos, sin = math.cos(angle), math.sin(angle)
        # Coordinates run from -1 to 1 along either side, whatever its length.
        matrix = [[cos, -sin * height / width, 0], [sin * width / height, cos, 0]]
        rows = values.reshape(1, -1, height, width)
        rows = rows if rows.is_floating_point() else rows.double()
        turn = torch.tensor(matrix, dtype=rows.dtype, device=rows.device)[None]
        grid = F.affine_grid(turn, list(rows.shape), align_corners=False)
        # What lies outside counts as zero.
        turned = F.grid_sample(rows - fill, grid, mode=mode, padding_mode="zeros", align_corners=False) + fill
        return turned.reshape(values.shape).to(values.dtype)
