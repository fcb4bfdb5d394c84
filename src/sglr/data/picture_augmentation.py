"""What augmentations of pictures have in common: a mask of the picture is changed along with it."""

from __future__ import annotations

from abc import abstractmethod
from typing import Self

import torch
from torch import Tensor

from sglr.core.errors import UsageError
from sglr.core.task import Targets
from sglr.data.augmentation import Augmentation

BLACK = -1.0
"""The value of black pixels, where pictures have values of ±1."""


class PictureAugmentation(Augmentation):
    """A random change of a picture ``[channels, height, width]``, and of its mask ``[..., height, width]``, if any.

    Names and options are those of torchvision's transforms; all are computed with functions of torch.
    """

    def fitted(self, inputs: Tensor, targets: Targets) -> Self:
        """Return the same; raise UsageError if inputs are no pictures."""
        if inputs.dim() != 3 or not inputs.dtype.is_floating_point:
            kind = f"{str(inputs.dtype).removeprefix('torch.')} {list(inputs.shape)}"
            problem = f"changes pictures [channels, height, width], and the inputs are {kind}"
            raise UsageError("augment", self.name, problem, "leave it out")
        try:
            self.change(inputs, torch.zeros(targets.shape, dtype=targets.torch_dtype), torch.Generator())
        except RuntimeError as error:  # of torch, such as for a mirrored border wider than the picture
            reason = str(error).partition("\n")[0]
            raise UsageError(
                "augment", self.name, f"can't change pictures {list(inputs.shape)} ({reason})", "correct it"
            ) from error
        return self

    def change(self, inputs: Tensor, target: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return a changed picture, with its target."""
        if target.dim() < 2 or target.shape[-2:] != inputs.shape[-2:]:
            return self.change_picture(inputs, None, rng)[0], target
        picture, mask = self.change_picture(inputs, target, rng)
        return picture, target if mask is None else mask

    @abstractmethod
    def change_picture(
        self, picture: Tensor, mask: Tensor | None, rng: torch.Generator
    ) -> tuple[Tensor, Tensor | None]:
        """Return a changed picture ``[channels, height, width]``, and its mask ``[..., height, width]``, if any."""


def uniform(low: float, high: float, rng: torch.Generator) -> float:
    """Draw a number between two."""
    return low + (high - low) * float(torch.rand((), generator=rng))


def happens(probability: float, rng: torch.Generator) -> bool:
    """Draw whether something happens."""
    return float(torch.rand((), generator=rng)) < probability
