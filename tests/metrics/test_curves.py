"""Curves and areas from counts are torchmetrics' of all samples; a threshold is chosen by a named criterion."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics.functional.classification import (
    binary_auroc,
    binary_average_precision,
    binary_calibration_error,
    binary_stat_scores,
)

from sglr.metrics.curves import (
    auroc,
    average_precision,
    best_threshold,
    called,
    confusion_at,
    count_logits,
    logit,
    place_of,
    probability_of,
    roc_points,
    threshold_of,
    thresholds_with,
)
from sglr.metrics.reliability import calibration_error, count_reliability, reliability_curve


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 3), st.integers(2, 50), st.sampled_from([0.1, 2.0, 12.0]), st.integers(0, 2**31))
def test_areas_are_torchmetrics_with_the_same_thresholds(clients: int, samples: int, spread: float, seed: int) -> None:
    torch.manual_seed(seed)
    logits = torch.randn(clients, samples, 1, dtype=torch.float64) * spread
    truth = torch.randint(2, (samples, 1))
    truth[0], truth[1] = 0, 1
    grid = thresholds_with()
    counts = count_logits(logits, truth, grid)[:, 0]
    # torchmetrics takes numbers in [0, 1]: any rising function of the logits has the same curves
    inner, outer = (torch.tensor(grid, dtype=torch.float64) + 400) / 800, torch.tensor([0.0, 1.0], dtype=torch.float64)
    thresholds = torch.cat([outer[:1], inner, outer[1:]])
    for client in range(clients):
        scores, wanted = (logits[client, :, 0] + 400) / 800, truth[:, 0]
        assert auroc(counts)[client] == pytest.approx(float(binary_auroc(scores, wanted, thresholds=thresholds)))
        precise = float(binary_average_precision(scores, wanted, thresholds=thresholds))
        assert average_precision(counts)[client] == pytest.approx(precise, abs=1e-6)
    chances = logits.sigmoid()
    bins = count_reliability(chances, truth)
    ours = [float(binary_calibration_error(chances[i, :, 0], truth[:, 0], n_bins=15)) for i in range(clients)]
    assert calibration_error(bins).tolist() == pytest.approx(ours, abs=1e-6)


def test_thresholds_are_dense_enough_for_rare_and_for_certain_findings() -> None:
    generator = torch.Generator().manual_seed(3)
    truth = (torch.rand(4000, 1, generator=generator) < 0.03).long()
    for middle, spread in ((-3.5, 0.5), (0.0, 0.01), (0.0, 20.0)):
        logits = middle + spread * (torch.randn(1, 4000, 1, generator=generator) + truth)
        found = auroc(count_logits(logits, truth, thresholds_with()))[0, 0]
        exact = binary_auroc(logits[0, :, 0] / 400 + 0.5, truth[:, 0])
        assert float(found) == pytest.approx(float(exact), abs=0.1 if spread == 0.01 else 0.01)


def test_counts_by_hand() -> None:
    logits = torch.tensor([[-2.0, 3.0], [0.5, -1.0], [4.0, 0.0]])[None]
    truth = torch.tensor([[0, 1], [1, -1], [1, 0]])
    counts = count_logits(logits, truth, (-1.5, 0.0, 2.0))
    assert counts.tolist() == [[[[1, 0, 0, 0], [0, 0, 1, 1]], [[0, 0, 1, 0], [0, 0, 0, 1]]]]  # -1 is not counted
    assert called(counts)[0, 0].tolist() == [[1, 0, 0, 0, 0], [2, 2, 2, 1, 0]]
    assert confusion_at(counts, 2)[0].tolist() == [[[1, 0], [1, 1]], [[1, 0], [0, 1]]]
    assert auroc(counts)[0].tolist() == [1, 1]
    assert roc_points(counts[0, 0]) == {"false_positive_rate": [0, 0, 0, 1], "true_positive_rate": [0, 0.5, 1, 1]}


def test_a_class_that_is_absent_tells_no_area() -> None:
    counts = count_logits(torch.randn(1, 5, 1), torch.zeros(5, 1, dtype=torch.int64), thresholds_with())
    assert auroc(counts).isnan().all()
    assert average_precision(counts).isnan().all()
    assert roc_points(counts[0, 0]) is None
    assert best_threshold(counts[0, 0], thresholds_with(), "f1") is None


@pytest.mark.parametrize("criterion", ["youden", "f1"])
def test_no_threshold_is_better_than_the_best(criterion: str) -> None:
    generator = torch.Generator().manual_seed(4)
    truth = (torch.rand(300, 1, generator=generator) < 0.2).long()
    logits = torch.randn(1, 300, 1, generator=generator) + truth - 2
    grid = thresholds_with()
    chosen = best_threshold(count_logits(logits, truth, grid)[0, 0], grid, criterion)
    assert chosen is not None

    def worth(probability: float) -> float:
        right, wrong, right_no, missed, _ = binary_stat_scores(
            logits[0, :, 0].sigmoid(), truth[:, 0], threshold=probability
        ).tolist()
        if criterion == "f1":
            return 2 * right / (2 * right + wrong + missed)
        return right / (right + missed) + right_no / (right_no + wrong) - 1

    every = torch.tensor(grid, dtype=torch.float64).sigmoid().tolist()
    assert worth(chosen) == pytest.approx(max(worth(one) for one in every if 0 < one < 1))
    assert chosen != pytest.approx(0.5, abs=0.02)


def test_a_given_threshold_is_counted_exactly() -> None:
    assert thresholds_with(0.5) == thresholds_with()
    grid = thresholds_with(0.3)
    assert len(grid) == len(thresholds_with()) + 1
    logits = torch.tensor([0.29, 0.31, 0.305]).logit()[None, :, None]
    counts = count_logits(logits, torch.ones(3, 1), grid)[0, 0]
    assert confusion_at(counts, place_of(0.3, grid)).tolist() == [[0, 0], [1, 2]]


def test_the_probability_of_every_threshold_tells_that_threshold_again() -> None:
    grid = thresholds_with()
    for place, chance in enumerate(map(probability_of, grid)):
        if chance < 1:
            assert thresholds_with(chance) == grid
            assert place_of(chance, grid) == place
            assert threshold_of(chance) == grid[place]
    assert threshold_of(0.3) == logit(0.3)


def test_bins_of_probabilities_by_hand() -> None:
    bins = count_reliability(torch.tensor([[0.02, 0.05, 0.99, 0.5]])[..., None], torch.tensor([[0], [1], [1], [-1]]))
    curve = reliability_curve(bins[0])
    assert curve["count"] == [2, *[0] * 13, 1]
    assert curve["frequency"] == [0.5, *[None] * 13, 1]
    assert curve["confidence"] == [pytest.approx(0.035), *[None] * 13, pytest.approx(0.99)]
    assert calibration_error(bins).item() == pytest.approx((2 * (0.5 - 0.035) + 0.01) / 3)
