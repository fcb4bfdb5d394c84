"""Membership inference: what was trained with long and often is told from what was not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

import sglr
from sglr.assembly.parts import PartOverrides
from sglr.core.data import Samples
from sglr.core.errors import UsageError
from sglr.data.load import load_dataset
from sglr.engines.local import Local
from sglr.leakage.open_run import open_run
from sglr.privacy.attacks.membership import Membership
from sglr.privacy.target import Target

from ..conftest import allow


def test_classes_of_which_a_client_has_none_are_not_compared(digits: Target) -> None:
    few = (digits.own.targets < 3).nonzero().flatten()
    found = Membership()(allow(digits, Membership, own=digits.own.select(few)))
    unseen = int((digits.unseen.targets < 3).sum())
    assert found.score.samples <= 2 * min(len(few), unseen)


def test_a_signal_of_no_such_name_is_refused() -> None:
    with pytest.raises(UsageError, match="loss or confidence"):
        Membership(signal="gradient")


def half_of_its_labels_drawn(samples: Samples, seed: int) -> Samples:
    rng = torch.Generator().manual_seed(seed)
    drawn = torch.randint(10, (len(samples),), generator=rng)
    return replace(samples, targets=torch.where(torch.rand(len(samples), generator=rng) < 0.5, drawn, samples.targets))


@pytest.mark.slow
def test_a_network_that_learnt_by_heart_leaks_who_was_there_and_one_trained_briefly_does_not(tmp_path: Path) -> None:
    """Digits are too easy to be learnt by heart; labels that are drawn can't be known in another way."""
    plain = load_dataset("digits", None)
    noisy = replace(plain, train=half_of_its_labels_drawn(plain.train, 0), test=half_of_its_labels_drawn(plain.test, 1))
    scores = {}
    for name, epochs in (("long", 60), ("short", 2)):
        shape = {"clients": 2, "samples_per_client": 200, "validation": 0}
        run = sglr.train("psl", dataset=noisy, epochs=epochs, threads=1, out=tmp_path / name, **shape)
        opened = open_run(run, PartOverrides(dataset=noisy, engine=Local))
        scores[name] = Membership()(opened.target(0, "client"))
    assert scores["long"].succeeds
    assert not scores["short"].succeeds
    assert scores["long"].score.value > 0.7


@pytest.mark.parametrize("signal", ["loss", "confidence"])
def test_a_network_that_knows_its_own_samples_by_heart_gives_all_away(digits: Target, signal: str) -> None:
    members = digits.own.select((digits.own.targets == 3).nonzero().flatten())
    certain = 20 * torch.eye(digits.classes)[3]

    def send(inputs: torch.Tensor) -> torch.Tensor:
        apart = (inputs[:, None] - members.inputs[None]).abs().flatten(2).amax(2).amin(1)
        return (apart == 0).float()[:, None] * certain

    found = Membership(signal=signal)(allow(digits, Membership, own=members, send=send, upper=torch.nn.Identity()))
    assert found.score.value == 1
    assert found.details["accuracy"].value == 1
