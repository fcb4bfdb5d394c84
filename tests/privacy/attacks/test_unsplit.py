"""UnSplit: exact where the architecture alone says everything, and up to the sign."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sglr.privacy.attacks.unsplit import Unsplit
from sglr.privacy.target import Target

from ..conftest import allow

ATTACK = Unsplit(rounds=8, steps=10, rate=0.1, smoothness=1e-5)


class Negative(nn.Module):
    """Sends negatives of images."""

    def forward(self, images: Tensor) -> Tensor:
        return -images


class Signed(nn.Module):
    """A segment of one weight, whose sign nobody knows: +1 or −1."""

    def __init__(self, sign: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(sign))

    def forward(self, images: Tensor) -> Tensor:
        return images * self.weight


def test_a_segment_without_weights_hides_nothing(digits: Target) -> None:
    target = allow(digits, ATTACK, send=Negative(), fresh=lambda seed: Negative())
    found = ATTACK(target)
    assert found.succeeds
    assert found.score.value < 1e-3


def test_images_are_known_up_to_a_sign_that_all_have_in_common(digits: Target) -> None:
    target = allow(digits, ATTACK, send=lambda images: images, fresh=lambda seed: Signed(-1.0))
    found = ATTACK(target)
    assert found.details["as found"].value > 0.3
    assert found.score.value == found.details["negatives"].value < 0.01
