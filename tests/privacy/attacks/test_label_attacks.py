"""Labels from cut gradients: by norm, direction and clusters, undefended and under noise."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from torch import Tensor

import sglr
from sglr.assembly.parts import PartOverrides
from sglr.core.data import Dataset, Samples
from sglr.core.errors import UsageError
from sglr.core.registry import DATASETS, ENGINES
from sglr.leakage.open_run import open_run
from sglr.privacy.attack import Attack
from sglr.privacy.attacks.label_clusters import LabelClusters
from sglr.privacy.attacks.label_direction import LabelDirection
from sglr.privacy.attacks.label_norm import LabelNorm
from sglr.privacy.target import Target

from ..conftest import SETTINGS, allow


@pytest.fixture(scope="module")
def rare(tmp_path_factory: pytest.TempPathFactory) -> Target:
    return nines_told(tmp_path_factory.mktemp("rare") / "run")


def nines_told(out: Path, defence: str = "none") -> Target:
    """Return a client of a network that tells nines, one digit of ten, from all others."""
    whole = DATASETS.load("digits")().load(None)
    train, test = (Samples(part.inputs, (part.targets == 9).long()) for part in (whole.train, whole.test))
    nines = Dataset("nines", train, test, ("others", "nines"))
    # After more epochs the gradients of samples that are learnt tell less of the class.
    run = sglr.train("psl", dataset=nines, epochs=1, out=out, defence=defence, **SETTINGS)
    return open_run(run, PartOverrides(dataset=nines, engine=ENGINES.load("local"))).target(0)


def with_noise(target: Target, size: float) -> Target:
    plain = target.gradients

    def gradients(samples: Samples) -> Tensor:
        found = plain(samples)
        generator = torch.Generator().manual_seed(0)
        largest = found.flatten(1).norm(dim=1).max() / found[0].numel() ** 0.5
        return found + size * largest * torch.randn(found.shape, generator=generator)

    return dataclasses.replace(target, gradients=gradients)


@pytest.mark.parametrize("attack", [LabelDirection(), LabelClusters()], ids=["direction", "clusters"])
def test_labels_are_inferred_and_noise_hides_them(attack: Attack, digits: Target) -> None:
    target = allow(digits, attack)
    plain, hidden = attack(target), attack(with_noise(target, 3.0))
    assert plain.succeeds
    assert plain.score.value > 3 * plain.baseline.value
    assert hidden.score.value < 0.6 * plain.score.value


def test_the_rare_class_has_the_larger_gradients_and_noise_hides_it(rare: Target) -> None:
    target = allow(rare, LabelNorm)
    plain, hidden = LabelNorm()(target), LabelNorm()(with_noise(target, 3.0))
    assert plain.succeeds
    assert plain.score.value > 0.9
    assert plain.details["accuracy"].value > plain.details["baseline_accuracy"].value
    assert hidden.score.value < 0.75
    assert "Class 1 against all others" in plain.note


@pytest.mark.slow
def test_gradients_of_one_expected_length_hide_the_rare_class(rare: Target, tmp_path: Path) -> None:
    plain = LabelNorm()(allow(rare, LabelNorm))
    hidden = LabelNorm()(allow(nines_told(tmp_path / "run", "max-norm"), LabelNorm))
    assert hidden.score.high < plain.score.low


def test_one_class_is_told_from_all_others(digits: Target) -> None:
    def gradients(samples: Samples) -> Tensor:
        return 1.0 + (samples.targets == 3).float()[:, None] + samples.inputs.flatten(1) / 100

    found = LabelNorm(positive=3)(allow(digits, LabelNorm, gradients=gradients))
    assert found.score.value == found.details["accuracy"].value == 1


def test_a_class_that_no_sample_has_is_refused(digits: Target) -> None:
    with pytest.raises(UsageError, match="positive = 12: the client has no sample of this class"):
        LabelNorm(positive=12)(allow(digits, LabelNorm))


def test_where_clients_keep_their_labels_what_they_send_up_is_looked_at(digits: Target) -> None:
    def up(samples: Samples) -> Tensor:
        return torch.eye(10)[samples.targets] + samples.inputs.flatten(1)[:, :10] / 1000

    blind = allow(digits, LabelDirection, gradients=lambda samples: torch.rand(len(samples), 10))
    assert not LabelDirection()(blind).succeeds
    assert LabelDirection()(dataclasses.replace(blind, feature_gradients=up)).score.value == 1
