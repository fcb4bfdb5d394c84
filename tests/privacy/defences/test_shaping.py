"""Clip, quantize and NoPeek: what they make of smashed data and of gradients, by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sglr.parties.defences import parse
from sglr.privacy.defences.clip import Clip
from sglr.privacy.defences.nopeek import NoPeek
from sglr.privacy.defences.quantize import Quantize
from sglr.privacy.measures.distance_correlation import distance_correlation


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def layer_of(defence: Clip | Quantize) -> nn.Module:
    found = defence.layer()
    assert found is not None
    return found


def test_clip_scales_long_samples_to_the_bound_and_leaves_short_ones() -> None:
    smashed = torch.tensor([[3.0, 4.0], [0.6, 0.8], [0.0, 0.0]])
    found = layer_of(Clip(norm=2.0))(smashed)
    torch.testing.assert_close(found, torch.tensor([[1.2, 1.6], [0.6, 0.8], [0.0, 0.0]]))


def test_clip_has_exact_gradients() -> None:
    smashed = drawn(4, 3, 2, 2).double().requires_grad_()
    assert torch.autograd.gradcheck(layer_of(Clip(norm=1.0)), smashed)


def test_a_sample_of_zeros_has_a_finite_gradient() -> None:
    smashed = torch.zeros(2, 3, requires_grad=True)
    (found,) = torch.autograd.grad(layer_of(Clip(norm=1.0))(smashed).sum(), smashed)
    torch.testing.assert_close(found, torch.ones(2, 3))


def test_quantize_rounds_each_sample_to_levels_of_its_own() -> None:
    smashed = torch.tensor([[0.0, 1.0, 2.9], [10.0, 40.0, 22.0], [5.0, 5.0, 5.0]])
    found = layer_of(Quantize(bits=2))(smashed)
    wanted = torch.tensor([[0.0, 2.9 / 3, 2.9], [10.0, 40.0, 20.0], [5.0, 5.0, 5.0]])
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("bits", [1, 3, 8])
def test_quantize_leaves_at_most_so_many_values_and_gradients_pass(bits: int) -> None:
    smashed = drawn(3, 500).requires_grad_()
    found = layer_of(Quantize(bits=bits))(smashed)
    # Levels are told apart beyond rounding.
    assert all(len(row.detach().mul(1e4).round().unique()) <= 2**bits for row in found)
    (back,) = torch.autograd.grad(found.sum(), smashed)
    assert torch.equal(back, torch.ones_like(back))


def test_nopeek_is_the_gradient_of_weight_times_distance_correlation() -> None:
    inputs, smashed = drawn(6, 1, 3, 3), drawn(6, 4, seed=1)
    found = NoPeek(weight=0.7).extra_gradient(inputs, smashed)
    step = 1e-3
    for row, column in ((0, 0), (3, 2), (5, 3)):
        moved = torch.zeros_like(smashed)
        moved[row, column] = step
        high, low = (distance_correlation(inputs, smashed + sign * moved) for sign in (1, -1))
        assert float(found[row, column]) == pytest.approx(0.7 * float(high - low) / (2 * step), abs=2e-4)


def test_nopeek_leaves_a_single_sample_alone() -> None:
    assert torch.equal(NoPeek().extra_gradient(drawn(1, 3), drawn(1, 2)), torch.zeros(1, 2))


def test_following_nopeek_lowers_the_distance_correlation() -> None:
    inputs = drawn(40, 5)
    smashed = inputs @ drawn(5, 4, seed=2)
    before = float(distance_correlation(inputs, smashed))
    for _ in range(60):
        smashed = smashed - 20 * NoPeek(weight=1.0).extra_gradient(inputs, smashed)
    assert float(distance_correlation(inputs, smashed)) < 0.7 * before


def test_a_guard_adds_the_pull_of_every_client_by_itself() -> None:
    inputs, smashed = drawn(3, 5, 4), drawn(3, 5, 2, seed=1)
    found = parse("nopeek:weight=0.5").extra_gradient(inputs, smashed)
    for row in range(3):
        torch.testing.assert_close(found[row], NoPeek(0.5).extra_gradient(inputs[row], smashed[row]))
