"""Mirror half of the pictures, left to right."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sglr.core.defence import option
from sglr.data.picture_augmentation import PictureAugmentation, happens

__all__ = ["HorizontalFlip"]


@dataclass(frozen=True)
class HorizontalFlip(PictureAugmentation):
    """Mirror a picture with a probability p."""

    p: float = option(0.5, "probability", least=0, most=1)

    def change_picture(
        self, picture: Tensor, mask: Tensor | None, rng: torch.Generator
    ) -> tuple[Tensor, Tensor | None]:
        """Return the picture, mirrored or not."""
        if not happens(self.p, rng):
            return picture, mask
        return picture.flip(-1), None if mask is None else mask.flip(-1)
