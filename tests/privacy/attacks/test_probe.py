"""A linear probe: labels from smashed data alone, none from what tells nothing."""

from __future__ import annotations

import pytest
import torch

from sglr.core.errors import UsageError
from sglr.privacy.attacks.probe import Probe
from sglr.privacy.target import Target

from ..conftest import allow, noisy


def test_smashed_data_tell_the_class_and_noise_weakens_it(digits: Target) -> None:
    target = allow(digits, Probe)
    plain, hidden = Probe()(target), Probe()(noisy(target, 5.0))
    assert plain.succeeds
    assert plain.score.value > 0.6
    assert hidden.score.value < 0.7 * plain.score.value


def test_more_labelled_samples_tell_more(digits: Target) -> None:
    target = allow(digits, Probe)
    assert Probe(labelled=10)(target).score.value > Probe(labelled=1)(target).score.value


def test_what_is_always_the_same_tells_nothing(digits: Target) -> None:
    assert not Probe()(allow(digits, Probe, send=lambda inputs: torch.ones(len(inputs), 5))).succeeds


def test_a_class_that_the_attacker_has_no_sample_of_is_an_error(digits: Target) -> None:
    some = digits.auxiliary.select((digits.auxiliary.targets != 4).nonzero().flatten())
    with pytest.raises(UsageError, match="needs one sample of each class"):
        Probe()(allow(digits, Probe, auxiliary=some))
