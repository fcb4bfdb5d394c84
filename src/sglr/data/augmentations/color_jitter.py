"""Change brightness, contrast and saturation of pictures at random."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from sglr.core.defence import option
from sglr.core.errors import UsageError
from sglr.core.task import Targets
from sglr.data.images.dataset import LUMA
from sglr.data.picture_augmentation import PictureAugmentation, uniform

__all__ = ["ColorJitter"]


@dataclass(frozen=True)
class ColorJitter(PictureAugmentation):
    """Blend a picture with black, with its mean grey and with its own grey, in random order.

    A factor is drawn from 1 - v to 1 + v for each; values are clipped at -1 and 1.
    """

    brightness: float = option(0.2, "how far brightness may change", least=0, most=1)
    contrast: float = option(0.2, "how far contrast may change", least=0, most=1)
    saturation: float = option(0.2, "how far saturation may change", least=0, most=1)

    def fitted(self, inputs: Tensor, targets: Targets) -> Self:
        """Return the same; raise UsageError for inputs that are no pictures, or with values beyond ±1."""
        if inputs.dim() == 3 and (most := float(inputs.abs().max())) > 1:
            problem = f"clips values at -1 and 1, and inputs reach {most:.3g}"
            raise UsageError("augment", "color-jitter", problem, "scale pictures to -1 to 1, or leave it out")
        return super().fitted(inputs, targets)

    def change_picture(
        self, picture: Tensor, mask: Tensor | None, rng: torch.Generator
    ) -> tuple[Tensor, Tensor | None]:
        """Return the picture in other colours."""
        order = torch.randperm(3, generator=rng).tolist()
        ranges = (self.brightness, self.contrast, self.saturation)
        factors = [uniform(1 - each, 1 + each, rng) for each in ranges]
        light = (picture + 1) / 2
        for number in order:
            other = (torch.zeros_like(light), _grey(light).mean(), _grey(light))[number]
            light = (factors[number] * light + (1 - factors[number]) * other).clamp(0, 1)
        return light * 2 - 1, mask


def _grey(light: Tensor) -> Tensor:
    """Return the luma ``[1, height, width]`` of values from 0 to 1; the mean, where channels are no colours."""
    if len(light) != len(LUMA):
        return light.mean(0, keepdim=True)
    return (light * torch.tensor(LUMA, dtype=light.dtype, device=light.device)[:, None, None]).sum(0, keepdim=True)
