"""The losses, by hand; weights, smoothing and parameters that are refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight

from sglr.core.data import ClientData, Samples
from sglr.core.errors import UsageError
from sglr.core.task import Targets
from sglr.tasks.classification import Classification, binary_cross_entropy

LOGITS = np.array([[2.0, -1.0, 0.5], [0.0, 0.0, 3.0]])
LABELS = [0, 1]
LOSSES = ("cross_entropy", "binary_cross_entropy", "focal")


def shares() -> np.ndarray:
    powers = np.exp(LOGITS)
    return powers / powers.sum(1, keepdims=True)


def by_hand(name: str) -> list[float]:
    chosen = [row[label] for row, label in zip(shares(), LABELS, strict=True)]
    if name == "cross_entropy":
        return [-np.log(share) for share in chosen]
    if name == "focal":
        return [-((1 - share) ** 2) * np.log(share) for share in chosen]
    rest = [np.delete(row, label) for row, label in zip(shares(), LABELS, strict=True)]
    return [-(np.log(share) + np.log(1 - others).sum()) / 3 for share, others in zip(chosen, rest, strict=True)]


@pytest.mark.parametrize("name", LOSSES)
def test_each_loss_is_what_its_formula_says(name: str) -> None:
    found = Classification(loss=name).losses(torch.tensor(LOGITS), torch.tensor(LABELS))
    np.testing.assert_allclose(found.numpy(), by_hand(name), rtol=1e-12)


@pytest.mark.parametrize("name", LOSSES)
def test_a_sample_that_is_certainly_right_costs_nothing_and_certainly_wrong_stays_finite(name: str) -> None:
    logits = torch.tensor([[200.0, 0.0], [0.0, 200.0]], requires_grad=True)
    losses = Classification(loss=name).losses(logits, torch.tensor([0, 0]))
    assert losses[0].item() == pytest.approx(0, abs=1e-6)
    losses.sum().backward()
    assert logits.grad is not None
    assert torch.isfinite(losses).all()
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("name", LOSSES)
def test_what_is_not_a_number_stays_so_and_raises_nothing(name: str) -> None:
    logits = torch.tensor([[float("nan"), 0.0], [1.0, 0.0]])
    losses = Classification(loss=name).losses(logits, torch.tensor([0, 0]))
    assert losses.isfinite().tolist() == [False, True]


def test_binary_cross_entropy_is_torchs_where_that_is_defined() -> None:
    logits, labels = torch.randn(50, 10, generator=torch.Generator().manual_seed(0)), torch.arange(50) % 10
    wanted = torch.nn.functional.one_hot(labels, 10).float()
    theirs = torch.nn.functional.binary_cross_entropy(logits.softmax(1), wanted, reduction="none").mean(1)
    torch.testing.assert_close(binary_cross_entropy(logits, labels), theirs)


def test_weights_multiply_the_losses_of_their_classes_and_balanced_ones_are_scikit_learns() -> None:
    logits, labels = torch.tensor(LOGITS), torch.tensor(LABELS)
    plain, weighted = Classification(), Classification(class_weights=("3", "0.5", "1"))
    wanted = plain.losses(logits, labels) * torch.tensor([3, 0.5])
    torch.testing.assert_close(weighted.losses(logits, labels), wanted)
    targets = torch.tensor([0, 0, 0, 1, 2, 2])
    data = ClientData(
        Samples(torch.zeros(6, 1), targets),
        (),
        None,
        Samples(torch.zeros(0, 1), targets[:0]),
        Targets.of_classes(tuple("abc")),
    )
    found = Classification(class_weights=("balanced",)).fitted(data)
    theirs = compute_class_weight("balanced", classes=np.arange(3), y=targets.numpy())
    assert [float(text) for text in found.class_weights] == pytest.approx(theirs, rel=1e-5)


def test_smoothing_spreads_a_share_of_the_label() -> None:
    logits, labels = torch.tensor(LOGITS), torch.tensor(LABELS)
    logs = torch.tensor(np.log(shares()))
    wanted = -0.7 * logs[[0, 1], LABELS] - 0.1 * logs.sum(1)
    torch.testing.assert_close(Classification(label_smoothing=0.3).losses(logits, labels), wanted)


@pytest.mark.parametrize(
    ("parameters", "field"),
    [
        ({"label_smoothing": 1.0}, "label_smoothing"),
        ({"label_smoothing": 0.1, "loss": "focal"}, "label_smoothing"),
        ({"focal_gamma": -1.0}, "focal_gamma"),
        ({"class_weights": ("1", "much")}, "class_weights"),
        ({"class_weights": ("0", "0")}, "class_weights"),
        ({"class_weights": ("1", "nan")}, "class_weights"),
    ],
)
def test_parameters_without_meaning_are_refused(parameters: dict[str, Any], field: str) -> None:
    with pytest.raises(UsageError, match=f"^{field} = "):
        Classification(**parameters)


@pytest.mark.parametrize(
    ("targets", "task"),
    [
        (Targets((), (), "float32"), "regression"),
        (Targets(("a", "b"), (2,), "int64", 2), "multilabel"),
        (Targets(("a", "b"), (8, 8), "uint8", 2), "segmentation"),
        (Targets((), (20,), "int64", 100), "language"),
    ],
)
def test_targets_without_classes_name_the_task_that_fits(targets: Targets, task: str) -> None:
    with pytest.raises(UsageError, match=f"--task {task}"):
        Classification().check(targets)
