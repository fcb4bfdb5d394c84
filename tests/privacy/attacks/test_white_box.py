"""White-box inversion: exact where nothing is lost, near where little is, and worse under noise."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sglr.core.errors import UsageError
from sglr.privacy.attacks.white_box import WhiteBox
from sglr.privacy.target import Target

from ..conftest import allow, noisy

ATTACK = WhiteBox(steps=150)


def test_images_behind_an_invertible_segment_are_found_exactly(digits: Target) -> None:
    torch.default_generator.manual_seed(0)
    mixing = nn.Sequential(nn.Flatten(), nn.Linear(64, 80))
    plain = allow(digits, WhiteBox, lower=mixing, send=lambda inputs: mixing(inputs).detach())
    assert WhiteBox(steps=300, samples=8, smoothness=1e-6)(plain).score.value < 1e-3


def test_images_are_found_behind_a_convolution_and_worse_where_there_is_noise(digits: Target) -> None:
    target = allow(digits, ATTACK)
    plain, hidden = ATTACK(target), ATTACK(noisy(target, 1.0))
    assert plain.succeeds
    assert plain.score.value < 0.1 * plain.baseline.value
    assert hidden.score.value > 5 * plain.score.value
    assert plain.details["psnr"].value > 20


def test_weights_that_are_not_known_are_an_error(digits: Target) -> None:
    with pytest.raises(UsageError, match="the weights of a client's segment, which this training does not show it"):
        ATTACK(digits)


def test_steps_are_above_zero() -> None:
    with pytest.raises(UsageError, match="steps = 0: is not above 0"):
        WhiteBox(steps=0)
