"""Gradient inversion: one sample is laid open by its update, a batch less so, and noise hides it."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor, nn

from sglr.core.errors import UsageError
from sglr.leakage.open_run import weight_gradients
from sglr.privacy.attacks.gradient_inversion import GradientInversion, inferred_labels
from sglr.privacy.target import Target
from sglr.tasks.classification import Classification

from ..conftest import allow

ATTACK = GradientInversion(samples=8, batch=1, steps=300, smoothness=1e-4)


def with_noise(target: Target, size: float) -> Target:
    plain = target.updates

    def updates(rows: Tensor, lower: nn.Module, upper: nn.Module) -> tuple[Tensor, ...]:
        generator = torch.Generator().manual_seed(int(rows[0]))
        found = plain(rows, lower, upper)
        return tuple(each + size * each.std() * torch.randn(each.shape, generator=generator) for each in found)

    return dataclasses.replace(target, updates=updates)


def small_lower(seed: int) -> nn.Module:
    torch.default_generator.manual_seed(seed % 2**32)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.Sigmoid())


def small_upper(seed: int) -> nn.Module:
    torch.default_generator.manual_seed(seed % 2**32 + 1)
    return nn.Linear(16, 10)


@pytest.fixture
def small(digits: Target) -> Target:
    """A network of two layers in its first round."""

    def updates(rows: Tensor, lower: nn.Module, upper: nn.Module) -> tuple[Tensor, ...]:
        return weight_gradients(lower, upper, digits.own.select(rows), Classification())

    return allow(digits, ATTACK, updates=updates, fresh=small_lower, fresh_upper=small_upper)


@pytest.mark.slow
def test_updates_of_single_samples_lay_them_open_and_noise_hides_them(small: Target) -> None:
    attack = dataclasses.replace(ATTACK, steps=50)
    plain, hidden = attack(small), attack(with_noise(small, 2.0))
    assert plain.succeeds
    assert plain.score.value < 0.2 * plain.baseline.value
    assert hidden.score.value > 2 * plain.score.value


@pytest.mark.slow
def test_a_batch_hides_its_samples_better_than_one_sample_hides_itself(digits: Target) -> None:
    target = allow(digits, ATTACK)
    assert dataclasses.replace(ATTACK, batch=8)(target).score.value > 2 * ATTACK(target).score.value


@pytest.mark.slow
def test_the_trained_network_can_be_attacked_too(digits: Target) -> None:
    assert dataclasses.replace(ATTACK, trained=True)(allow(digits, ATTACK)).succeeds


def test_last_layers_that_stay_with_the_client_are_an_error(digits: Target) -> None:
    with pytest.raises(UsageError, match="the last layers stay with the client"):
        ATTACK(allow(digits, ATTACK, feature_gradients=digits.gradients))


@pytest.mark.parametrize("label", [0, 3, 9])
@pytest.mark.parametrize("bias", [True, False])
def test_the_label_of_one_sample_is_certain(label: int, bias: bool) -> None:
    torch.default_generator.manual_seed(label)
    layer = nn.Linear(20, 10, bias=bias)
    loss = nn.functional.cross_entropy(layer(torch.rand(1, 20)), torch.tensor([label]))
    gradients = torch.autograd.grad(loss, list(layer.parameters()))
    assert inferred_labels(gradients, 1, 10).tolist() == [label]


def test_labels_of_a_batch_are_exact_where_all_classes_are_as_likely() -> None:
    layer = nn.Linear(20, 4)
    with torch.no_grad():
        layer.weight.zero_(), layer.bias.zero_()
    labels = torch.tensor([2, 0, 2, 3, 2])
    gradients = torch.autograd.grad(nn.functional.cross_entropy(layer(torch.rand(5, 20)), labels), layer.parameters())
    assert inferred_labels(gradients, 5, 4).tolist() == [0, 2, 2, 2, 3]
