"""Max-norm and Marvell's noise: equations by hand, and what is left of a label in a gradient."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sglr.core.defence import Defence
from sglr.privacy.defences.marvell import Marvell, water_filled
from sglr.privacy.defences.max_norm import MaxNorm
from sglr.privacy.measures.label_leakage import norm_auc


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def two_classes(count: int = 4000, share: float = 0.5) -> tuple[Tensor, Tensor]:
    """Draw gradients whose classes lie 2 apart along the first axis, with a spread of 0.1."""
    labels = (torch.rand(count, generator=rng(1)) < share).long()
    gradients = 0.1 * torch.randn(count, 5, generator=rng(2))
    gradients[:, 0] += 2.0 * labels - 1
    return gradients, labels


def test_max_norm_gives_every_gradient_the_largest_expected_squared_norm() -> None:
    gradients = torch.tensor([[3.0, 4.0], [1.0, 0.0], [0.0, 0.0]])
    repeated = torch.stack(
        [MaxNorm().privatize_gradient(gradients, torch.zeros(3).long(), rng(seed)) for seed in range(4000)]
    )
    squares = repeated.square().sum(2).mean(0)
    assert torch.equal(repeated[:, 0], gradients[0].expand(4000, 2))
    assert float(squares[1]) == pytest.approx(25, rel=0.1)
    assert not repeated[:, 2].any()
    # Noise is along the gradient alone, and has no mean.
    assert not repeated[:, 1, 1].any()
    assert float(repeated[:, 1, 0].mean()) == pytest.approx(1, abs=0.3)


def test_max_norm_hides_the_label_that_norms_tell() -> None:
    labels = (torch.rand(400, generator=rng(1)) < 0.2).long()
    gradients = torch.randn(400, 5, generator=rng(2)) * (0.1 + labels[:, None])
    hidden = MaxNorm().privatize_gradient(gradients, labels, rng())
    assert norm_auc(gradients, labels, positive=1).value > 0.97
    assert norm_auc(hidden, labels, positive=1).value < 0.7


def test_noise_fills_directions_like_water() -> None:
    # Both active: sqrt(4/nu) - 1 + sqrt(1/nu) - 1 = 4, so 1/sqrt(nu) = 2.
    torch.testing.assert_close(water_filled(torch.tensor([4.0, 1.0]), 1.0, 4.0), torch.tensor([3.0, 1.0]))
    # So little power all goes to the first.
    torch.testing.assert_close(water_filled(torch.tensor([4.0, 1.0]), 1.0, 0.5), torch.tensor([0.5, 0.0]))
    assert not water_filled(torch.tensor([4.0, 1.0]), 1.0, 0.0).any()


def test_no_other_noise_of_that_power_hides_the_means_better() -> None:
    sizes, spread, power = torch.tensor([5.0, 2.0, 0.3]), 0.4, 1.7
    found = water_filled(sizes, spread, power)
    assert float(found.sum()) == pytest.approx(power)
    best = float((sizes / (spread + found)).sum())
    for seed in range(200):
        other = power * torch.distributions.Dirichlet(torch.ones(3)).sample() if seed else torch.full((3,), power / 3)
        assert best <= float((sizes / (spread + other)).sum()) + 1e-6


def test_marvell_puts_the_power_along_the_difference_of_two_classes() -> None:
    gradients, labels = two_classes()
    noise = Marvell(power=4.0).privatize_gradient(gradients, labels, rng()) - gradients
    # The squared distance of the means is 4.
    assert float(noise[:, 0].square().mean()) == pytest.approx(16, rel=0.1)
    assert float(noise[:, 1:].square().sum(1).mean()) < 0.05
    assert float(noise.mean(0).norm()) < 0.3


def test_one_class_needs_no_noise() -> None:
    gradients = torch.randn(5, 3, generator=rng())
    torch.testing.assert_close(Marvell().privatize_gradient(gradients, torch.ones(5).long(), rng()), gradients)


def test_marvell_hides_the_sign_that_tells_a_class() -> None:
    gradients, labels = two_classes()
    told = Marvell(power=16.0).privatize_gradient(gradients, labels, rng())
    right = ((told[:, 0] > 0).long() == labels).double().mean()
    assert float(((gradients[:, 0] > 0).long() == labels).double().mean()) == 1
    # Classes 2 apart under noise of standard deviation 8: the best guess is right in 55 %.
    assert float(right) == pytest.approx(0.55, abs=0.03)


@pytest.mark.parametrize("defence", [Marvell(power=4.0), MaxNorm()], ids=["marvell", "max-norm"])
def test_noise_is_the_same_to_rounding_for_gradients_that_are(defence: Defence) -> None:
    gradients, labels = torch.randn(12, 4, 3, 3, generator=rng(3)), torch.arange(12) % 4
    told = defence.privatize_gradient(gradients, labels, rng())
    nearly = defence.privatize_gradient(gradients * (1 + 1e-6), labels, rng())
    torch.testing.assert_close(told, nearly, rtol=1e-4, atol=1e-4)
    other_layout = gradients.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(told, defence.privatize_gradient(other_layout, labels, rng()), rtol=1e-5, atol=1e-5)
