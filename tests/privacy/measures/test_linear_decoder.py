"""The best linear decoder: all of what is linear is explained, nothing of what is independent, and n³ is enough."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from sglr.core.errors import UsageError
from sglr.privacy.measures.linear_decoder import RIDGE, explained_share


def drawn(count: int, *shape: int, seed: int = 0) -> Tensor:
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(seed))


@given(st.integers(0, 100), st.floats(0.1, 10), st.floats(-5, 5))
def test_inputs_are_explained_that_were_turned_scaled_and_moved(seed: int, scale: float, offset: float) -> None:
    inputs = drawn(200, 1, 2, 3, seed=seed)
    turned = inputs.flatten(1) @ torch.linalg.qr(drawn(6, 6, seed=seed + 1)).Q
    smashed = scale * turned + offset
    assert explained_share(smashed[:100], inputs[:100], smashed[100:], inputs[100:]) > 0.99


def test_what_is_independent_explains_nothing() -> None:
    inputs, smashed = drawn(400, 5), drawn(400, 20, seed=1)
    assert explained_share(smashed[:200], inputs[:200], smashed[200:], inputs[200:]) == 0


def test_half_of_the_values_explain_half_of_the_variance() -> None:
    inputs = drawn(2000, 10)
    share = explained_share(inputs[:1000, :5], inputs[:1000], inputs[1000:, :5], inputs[1000:])
    assert share == pytest.approx(0.5, abs=0.03)


def test_it_is_ridge_regression_solved_over_samples() -> None:
    inputs, smashed = drawn(60, 3).double(), drawn(60, 7, seed=1).double()
    smashed[:, :3] += inputs
    x, y = inputs[:40] - inputs[:40].mean(0), smashed[:40] - smashed[:40].mean(0)
    ridge = RIDGE * (y @ y.T).diagonal().mean() * torch.eye(7)
    weights = torch.linalg.solve(y.T @ y + ridge, y.T @ x)
    found = inputs[:40].mean(0) + (smashed[40:] - smashed[:40].mean(0)) @ weights
    wrong, whole = (inputs[40:] - found).square().sum(), (inputs[40:] - inputs[:40].mean(0)).square().sum()
    share = explained_share(smashed[:40], inputs[:40], smashed[40:], inputs[40:])
    assert share == pytest.approx(float(1 - wrong / whole), abs=1e-9)


def test_constant_smashed_data_and_too_few_samples_are_refused() -> None:
    inputs = drawn(20, 4)
    with pytest.raises(UsageError, match="all samples are the same"):
        explained_share(torch.ones(20, 3), inputs, torch.ones(20, 3), inputs)
    with pytest.raises(UsageError, match="8 samples"):
        explained_share(inputs[:7], inputs[:7], inputs, inputs)
