"""Decoder inversion: images from what is sent of them, none from what tells nothing."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from sglr.core.errors import UsageError
from sglr.privacy.attacks.decoder import Decoder
from sglr.privacy.target import Target

from ..conftest import allow, noisy

ATTACK = Decoder(samples=64, steps=100)


@pytest.mark.slow
def test_a_decoder_beats_the_mean_image_and_noise_weakens_it(digits: Target) -> None:
    target = allow(digits, ATTACK)
    plain, hidden = ATTACK(target), ATTACK(noisy(target, 1.0))
    assert plain.succeeds
    assert plain.score.value < 0.5 * plain.baseline.value
    assert plain.details["cross_entropy"].value < plain.details["baseline_cross_entropy"].value
    assert hidden.score.value > 1.5 * plain.score.value


def test_what_is_always_the_same_tells_nothing(digits: Target) -> None:
    silent = allow(digits, ATTACK, send=lambda inputs: torch.ones(len(inputs), 4, 4, 4))
    assert not Decoder(steps=20)(silent).succeeds


def test_too_few_auxiliary_images_are_refused(digits: Target) -> None:
    few = allow(digits, ATTACK, auxiliary=digits.auxiliary.select(torch.arange(20)))
    with pytest.raises(UsageError, match="auxiliary = 20 samples: this attack needs 64 samples"):
        ATTACK(few)
    with pytest.raises(UsageError, match=r"auxiliary = 63: .*give 64 or more"):
        Decoder(auxiliary=63)
    assert Decoder(auxiliary=64).auxiliary == 64


def test_inputs_that_are_no_images_are_refused(digits: Target) -> None:
    rows = dataclasses.replace(digits.own, inputs=digits.own.inputs.flatten(1))
    with pytest.raises(UsageError, match="recovers images, and these inputs are not images"):
        ATTACK(allow(digits, ATTACK, own=rows))
