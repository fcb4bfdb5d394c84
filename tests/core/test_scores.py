"""Figures by class are those of scikit-learn, for every client, averaged over clients."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics
from torch import Tensor

from sglr.core.scores import MOST_CLASSES, ClassCounts, Scores
from sglr.tasks.classification import Classification

TASK = Classification()


def counted(predicted: Tensor, labels: Tensor, classes: int) -> ClassCounts:
    """Count predictions ``[n, m]`` of labels ``[n, m]``."""
    counts = ClassCounts.none(len(labels), classes)
    for row in range(len(labels)):
        counts.add(slice(row, row + 1), predicted[row : row + 1], labels[row])
    return counts


@st.composite
def predictions(draw: st.DrawFn) -> tuple[Tensor, Tensor, int]:
    """Return predictions and labels ``[n, m]`` of some clients; classes may be missing on either side."""
    clients, samples, classes = draw(st.integers(1, 4)), draw(st.integers(1, 30)), draw(st.integers(1, 6))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    known = draw(st.integers(1, classes))
    predicted, labels = rng.integers(0, classes, (clients, samples)), rng.integers(0, known, (clients, samples))
    return torch.from_numpy(predicted), torch.from_numpy(labels), classes


def theirs(function: Any, predicted: Tensor, wanted: Tensor, **options: Any) -> list[Any]:
    """Return a figure of scikit-learn for every client."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of classes that are missing
        return [function(own, guess, **options) for own, guess in zip(wanted.numpy(), predicted.numpy(), strict=True)]


@given(predictions())
def test_means_are_those_of_scikit_learn(drawn: tuple[Tensor, Tensor, int]) -> None:
    predicted, labels, classes = drawn
    counts = counted(predicted, labels, classes)
    balanced = theirs(metrics.balanced_accuracy_score, predicted, labels)
    assert counts.balanced_accuracy == pytest.approx(np.mean(balanced))
    f1 = theirs(metrics.f1_score, predicted, labels, average="macro", zero_division=0.0)
    assert counts.macro_f1 == pytest.approx(np.mean(f1))


@given(predictions())
def test_figures_of_a_class_are_those_of_scikit_learn(drawn: tuple[Tensor, Tensor, int]) -> None:
    predicted, labels, classes = drawn
    counts, known = counted(predicted, labels, classes), list(range(classes))
    tables = theirs(metrics.precision_recall_fscore_support, predicted, labels, labels=known, zero_division=np.nan)
    for client, (precision, recall, f1, support) in enumerate(tables):
        assert counts.support[client].tolist() == support.tolist()
        np.testing.assert_allclose(counts.recall[client], recall)
        occurs = support > 0
        # Where a class never occurs or is never predicted, scikit-learn leaves it to its caller.
        np.testing.assert_allclose(counts.precision[client][occurs], np.nan_to_num(precision[occurs]))
        np.testing.assert_allclose(counts.f1[client][occurs], np.nan_to_num(f1[occurs]))
    square = sum(theirs(metrics.confusion_matrix, predicted, labels, labels=known))
    assert counts.confusion is not None
    assert counts.confusion.tolist() == square.tolist()


@given(predictions())
def test_the_majority_share_is_the_accuracy_of_the_best_constant(drawn: tuple[Tensor, Tensor, int]) -> None:
    predicted, labels, classes = drawn
    counts = counted(predicted, labels, classes)
    constants = [float((labels == one).double().mean(1).mean()) for one in range(classes)]
    assert counts.majority_share == pytest.approx(max(constants))


@given(predictions(), st.randoms())
def test_groups_of_clients_make_the_same_counts_in_any_order(drawn: tuple[Tensor, Tensor, int], random: Any) -> None:
    predicted, labels, classes = drawn
    order = list(range(len(labels)))
    random.shuffle(order)
    parts = []
    for client in order:
        own = counted(predicted[[client]], labels[[client]], classes)
        parts.append(Scores.of(TASK, own.right.sum(1) / labels.shape[1], [own.tensors()]))
    joined = Scores.joined(parts, [order.index(client) for client in range(len(labels))], TASK)
    whole = counted(predicted, labels, classes)
    assert all(torch.equal(tensor, whole.tensors()[name]) for name, tensor in joined.sums.items())
    assert torch.equal(joined.values["accuracy"], whole.right.sum(1).double() / labels.shape[1])
    assert joined.mean("balanced_accuracy") == pytest.approx(whole.balanced_accuracy)
    assert joined.mean("macro_f1") == pytest.approx(whole.macro_f1)


def test_a_class_that_no_sample_has_is_left_out() -> None:
    counts = counted(torch.tensor([[0, 0, 1, 0]]), torch.tensor([[0, 0, 1, 1]]), 4)
    assert counts.balanced_accuracy == 0.75
    assert counts.recall[0, 2:].isnan().all()
    assert counts.f1[0, 2:].isnan().all()


def test_very_many_classes_have_no_matrix() -> None:
    assert ClassCounts.none(2, MOST_CLASSES).confusion is not None
    counts = ClassCounts.none(2, MOST_CLASSES + 1)
    assert counts.confusion is None
    counts.add(slice(0, 2), torch.tensor([[100, 3], [100, 0]]), torch.tensor([100, 0]))
    assert counts.right.sum(1).tolist() == [1, 2]
