"""The losses, by hand; and that they are what the server trains with."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sglr.parties.losses import LOSSES

LOGITS = np.array([[2.0, -1.0, 0.5], [0.0, 0.0, 3.0]])
LABELS = [0, 1]


def shares() -> np.ndarray:
    powers = np.exp(LOGITS)
    return powers / powers.sum(1, keepdims=True)


def by_hand(name: str) -> list[float]:
    chosen = [row[label] for row, label in zip(shares(), LABELS, strict=True)]
    if name == "cross_entropy":
        return [-np.log(share) for share in chosen]
    rest = [np.delete(row, label) for row, label in zip(shares(), LABELS, strict=True)]
    return [-(np.log(share) + np.log(1 - others).sum()) / 3 for share, others in zip(chosen, rest, strict=True)]


@pytest.mark.parametrize("name", LOSSES)
def test_each_loss_is_what_its_formula_says(name: str) -> None:
    found = LOSSES[name](torch.tensor(LOGITS), torch.tensor(LABELS))
    np.testing.assert_allclose(found.numpy(), by_hand(name), rtol=1e-12)


@pytest.mark.parametrize("name", LOSSES)
def test_a_sample_that_is_certainly_right_costs_nothing_and_certainly_wrong_stays_finite(name: str) -> None:
    logits = torch.tensor([[200.0, 0.0], [0.0, 200.0]], requires_grad=True)
    losses = LOSSES[name](logits, torch.tensor([0, 0]))
    assert losses[0].item() == pytest.approx(0, abs=1e-6)
    losses.sum().backward()
    assert logits.grad is not None
    assert torch.isfinite(losses).all()
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("name", LOSSES)
def test_what_is_not_a_number_stays_so_and_raises_nothing(name: str) -> None:
    logits = torch.tensor([[float("nan"), 0.0], [1.0, 0.0]])
    losses = LOSSES[name](logits, torch.tensor([0, 0]))
    assert losses.isfinite().tolist() == [False, True]


def test_binary_cross_entropy_is_torchs_where_that_is_defined() -> None:
    logits, labels = torch.randn(50, 10, generator=torch.Generator().manual_seed(0)), torch.arange(50) % 10
    wanted = torch.nn.functional.one_hot(labels, 10).float()
    theirs = torch.nn.functional.binary_cross_entropy(logits.softmax(1), wanted, reduction="none").mean(1)
    torch.testing.assert_close(LOSSES["binary_cross_entropy"](logits, labels), theirs)
