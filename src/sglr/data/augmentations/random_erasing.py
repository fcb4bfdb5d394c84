"""Erase a random rectangle of pictures (cutout; Zhong et al., Random Erasing Data Augmentation, 1708.04896)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from sglr.core.defence import option
from sglr.data.picture_augmentation import BLACK, PictureAugmentation, happens, uniform

__all__ = ["RandomErasing"]

LONGEST = 3.3
"""Largest ratio of a rectangle's sides."""


@dataclass(frozen=True)
class RandomErasing(PictureAugmentation):
    """Fill a rectangle with one value, with a probability p; a mask stays as it is."""

    p: float = option(0.5, "probability", least=0, most=1)
    least: float = option(0.02, "least share of the picture that is erased", above=0, most=1)
    most: float = option(0.33, "largest share", above=0, most=1)
    value: float = option(BLACK, "what is there instead; black by default")

    def change_picture(
        self, picture: Tensor, mask: Tensor | None, rng: torch.Generator
    ) -> tuple[Tensor, Tensor | None]:
        """Return the picture, with a rectangle erased or not."""
        if not happens(self.p, rng):
            return picture, mask
        height, width = picture.shape[-2:]
        area = uniform(min(self.least, self.most), self.most, rng) * height * width
        ratio = math.exp(uniform(-math.log(LONGEST), math.log(LONGEST), rng))
        tall = min(height, max(1, round(math.sqrt(area * ratio))))
        wide = min(width, max(1, round(math.sqrt(area / ratio))))
        top, left = (
            int(torch.randint(size - own + 1, (), generator=rng)) for size, own in ((height, tall), (width, wide))
        )
        erased = picture.clone()
        erased[..., top : top + tall, left : left + wide] = self.value
        return erased, mask
