"""A site takes part in runs that do what it asks, and is told what leaves it."""

from __future__ import annotations

from typing import Any

import pytest

from sglr.core.errors import UsageError
from sglr.runs.config import Experiment
from sglr.sites.build_client import SiteConfig, make_trainers
from sglr.sites.own_data import Source
from sglr.sites.requirements import SiteRequirements, what_leaves

from .test_build_client import description


def run(**settings: Any) -> Experiment:
    return Experiment.from_flat({"model": "mlp", **settings})


@pytest.mark.parametrize(
    ("asked", "settings"),
    [
        (SiteRequirements(), {}),
        (SiteRequirements("clip:norm=5"), {"defence": "clip:norm=5+noise:sigma=0.5"}),
        (SiteRequirements("noise:0.5+clip:5"), {"defence": "clip:norm=5+noise:sigma=0.5"}),
        (SiteRequirements(keep_labels=True), {"tail": "relu2"}),
        (SiteRequirements(keep_labels=True), {"method": "fl"}),
    ],
)
def test_a_run_that_does_what_is_asked_is_joined(asked: SiteRequirements, settings: dict[str, Any]) -> None:
    asked.check(run(**settings))


@pytest.mark.parametrize(
    ("asked", "settings", "told"),
    [
        (SiteRequirements("noise:sigma=0.5"), {}, "require-defence = noise:sigma=0.5: the run's defence is 'none'"),
        (SiteRequirements("noise:sigma=0.5"), {"defence": "noise:sigma=0.1"}, "the run's defence is 'noise:sigma=0.1'"),
        (SiteRequirements("clip+noise"), {"defence": "noise"}, "ask its operator for a run with yours"),
        (SiteRequirements(keep_labels=True), {"method": "psl"}, "labels would go to the server of this run"),
    ],
)
def test_another_is_not(asked: SiteRequirements, settings: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError) as raised:
        asked.check(run(**settings))
    assert told in str(raised.value)


def test_a_defence_that_does_not_exist_is_refused_before_the_server_is_asked() -> None:
    with pytest.raises(UsageError, match="nonesuch"):
        SiteRequirements("nonesuch")


def test_terms_are_looked_at_before_the_data() -> None:
    nowhere = SiteConfig(Source(dataset="digits", data_dir=None), requirements=SiteRequirements("noise"), device="cpu")
    with pytest.raises(UsageError, match="require-defence"):
        make_trainers(description(), [0], nowhere)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({}, "smashed data and labels go to the server"),
        ({"defence": "noise:sigma=0.5"}, "smashed data (defence noise:sigma=0.5) and labels go to the server"),
        ({"tail": "relu2", "method": "psl"}, "smashed data go to the server; labels stay here"),
        ({"method": "fl"}, "weights go to the server, and outputs and labels of held-out samples; those of training"),
    ],
)
def test_it_is_told_what_leaves(settings: dict[str, Any], told: str) -> None:
    assert what_leaves(run(**settings), SiteRequirements()).startswith(told)


def test_federated_learning_with_labels_kept_sends_sums() -> None:
    told = what_leaves(run(method="fl"), SiteRequirements(keep_labels=True))
    sums = "sums of losses and of correct predictions on held-out samples"
    assert told == f"weights go to the server, and {sums}; labels stay here"
