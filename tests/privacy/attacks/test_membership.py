"""Membership inference: what was trained with long and often is told from what was not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import sglr
from sglr.core.errors import UsageError
from sglr.leakage.opening import open_run
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


@pytest.mark.slow
def test_an_overfitted_network_leaks_more_than_one_that_was_trained_briefly(tmp_path: Path) -> None:
    scores = {}
    for name, epochs in (("long", 60), ("short", 2)):
        run = sglr.train(
            "psl", dataset="digits", clients=2, samples_per_client=200, epochs=epochs, threads=1, out=tmp_path / name
        )
        scores[name] = Membership()(open_run(run).target(0, "client"))
    assert scores["long"].succeeds
    assert not scores["short"].succeeds
    assert scores["long"].score.value > scores["short"].score.value


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
