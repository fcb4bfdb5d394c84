"""The area under the ROC curve, by hand."""

from __future__ import annotations

import pytest
import torch

from sglr.privacy.measures.roc import auc_estimate, true_positives_at


def test_it_is_the_share_of_pairs_in_the_right_order_with_ties_half() -> None:
    found = auc_estimate(torch.tensor([3.0, 1.0]), torch.tensor([1.0, 0.0, 2.0]), "scores")
    assert found.value == pytest.approx((3 + 1.5) / 6)
    assert found.low is not None and found.high is not None
    assert found.low < found.value < found.high


def test_true_positives_are_counted_above_what_few_negatives_exceed() -> None:
    negative = torch.arange(100.0)
    positive = torch.tensor([98.5, 97.5, 200.0, 0.0])
    assert true_positives_at(0.01, positive, negative, "found").value == 0.5
    assert true_positives_at(0.0, positive, negative, "found").value == 0.25
