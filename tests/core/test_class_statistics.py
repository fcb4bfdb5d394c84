"""Gaussians by class, folded together step by step: their numbers are those of all samples at once."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sglr.core import class_statistics
from sglr.core.class_statistics import MEANS, RIDGE, SPREADS, WEIGHTS, ClassStatistics
from sglr.core.types import Extent


def folded(parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]], classes: int) -> dict[str, torch.Tensor]:
    memory: dict[str, torch.Tensor] = {}
    for samples, labels, weights in parts:
        ClassStatistics(memory, classes).fold(*map(torch.from_numpy, (samples, labels, weights)))
    return memory


def drawn_parts(seed: int, sizes: list[int]) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(seed)
    return [(rng.normal(3, 2, (n, 2, 2)), rng.integers(0, 3, n), rng.integers(1, 9, n) * 1.0) for n in sizes]


@given(st.integers(0, 2**31), st.lists(st.integers(1, 9), min_size=1, max_size=6))
def test_what_is_folded_is_the_weighted_mean_and_covariance_of_all_samples(seed: int, sizes: list[int]) -> None:
    parts = drawn_parts(seed, sizes)
    memory = folded(parts, 3)
    samples, labels, weights = (np.concatenate(values) for values in zip(*parts, strict=True))
    for label in range(3):
        mine = labels == label
        assert float(memory[WEIGHTS][label]) == pytest.approx(weights[mine].sum())
        if mine.any():
            flat = samples[mine].reshape(-1, 4)
            np.testing.assert_allclose(memory[MEANS][label], np.average(flat, 0, weights[mine]), atol=1e-10)
            covariance = np.cov(flat.T, ddof=0, aweights=weights[mine])
            np.testing.assert_allclose(memory[SPREADS][label], covariance, atol=1e-10)
        else:
            assert not memory[MEANS][label].any()


def test_two_folds_by_hand() -> None:
    """A sample at 0 of weight 1, then one at 4 of weight 3: mean 3, variance 1/4 · 9 + 3/4 · 1."""
    one, four = np.zeros((1, 1)), np.full((1, 1), 4.0)
    label = np.zeros(1, dtype=np.int64)
    memory = folded([(one, label, np.array([1.0])), (four, label, np.array([3.0]))], 1)
    assert memory[MEANS].item() == 3.0
    assert memory[SPREADS].item() == 3.0
    assert memory[WEIGHTS].item() == 4.0


def test_of_large_samples_variances_alone_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = drawn_parts(1, [5, 3, 8])
    full = folded(parts, 3)
    monkeypatch.setattr(class_statistics, "MOST_FULL", 3)
    diagonal = folded(parts, 3)
    assert diagonal[SPREADS].shape == (3, 4)
    torch.testing.assert_close(diagonal[SPREADS], full[SPREADS].diagonal(dim1=1, dim2=2))
    assert ClassStatistics.bytes(Extent(2, 2, 4, (2, 2), 3)) == sum(t.numel() * 8 for t in diagonal.values())


def test_bytes_are_those_of_what_is_kept() -> None:
    memory = folded(drawn_parts(1, [5]), 3)
    assert ClassStatistics.bytes(Extent(2, 2, 4, (2, 2), 3)) == sum(t.numel() * t.itemsize for t in memory.values())


def test_classes_are_known_once_each_had_a_sample() -> None:
    memory: dict[str, torch.Tensor] = {}
    statistics = ClassStatistics(memory, 2)
    assert not statistics.known
    for label, known in ((1, False), (1, False), (0, True), (1, True)):
        statistics.fold(torch.ones(1, 2), torch.tensor([label]), torch.ones(1))
        assert statistics.known is known
        assert ClassStatistics(memory, 2).known is known


@pytest.mark.parametrize("most_full", [512, 1])
def test_draws_have_the_mean_and_covariance_of_their_class(monkeypatch: pytest.MonkeyPatch, most_full: int) -> None:
    monkeypatch.setattr(class_statistics, "MOST_FULL", most_full)
    rng = np.random.default_rng(0)
    mix = np.array([[2.0, 0.0], [1.5, 0.5]])
    samples = np.concatenate([rng.normal(size=(50, 2)) @ mix.T + 7, rng.normal(size=(30, 2))])
    memory = folded([(samples, np.repeat([0, 2], [50, 30]), np.ones(80))], 3)
    found, labels = ClassStatistics(memory, 3).draw([40_000, 0, 3], np.random.default_rng(1))
    assert labels.tolist() == [0] * 40_000 + [2] * 3
    assert found.shape == (40_003, 2)
    wanted = np.cov(samples[:50].T, ddof=0) + RIDGE * np.eye(2)
    np.testing.assert_allclose(found[:40_000].mean(0), samples[:50].mean(0), atol=0.05)
    if most_full == 1:
        wanted = np.diag(np.diag(wanted))
    np.testing.assert_allclose(np.cov(found[:40_000].T), wanted, atol=0.15)
    again, _ = ClassStatistics(memory, 3).draw([40_000, 0, 3], np.random.default_rng(1))
    assert torch.equal(found, again)


def test_nothing_is_drawn_where_nothing_lacks() -> None:
    memory = folded(drawn_parts(1, [5]), 3)
    found, labels = ClassStatistics(memory, 3).draw([0, 0, 0], np.random.default_rng(1))
    assert found.shape == (0, 4)
    assert labels.shape == (0,)


def test_each_class_is_filled_up_once_all_are_known() -> None:
    memory: dict[str, torch.Tensor] = {}
    statistics, rng = ClassStatistics(memory, 2), np.random.default_rng(0)
    samples, labels = torch.tensor([[[1.0], [2.0]], [[3.0], [4.0]]]), torch.tensor([1, 1])
    statistics.fold(samples, labels, torch.ones(2))
    found = statistics.filled(samples, labels, 3, rng)
    assert all(torch.equal(one, other) for one, other in zip(found, (samples, labels), strict=True))
    statistics.fold(samples[:1], torch.tensor([0]), torch.ones(1))
    more, of_class = statistics.filled(samples, labels, 3, rng)
    assert of_class.tolist() == [1, 1, 0, 0, 0, 1]
    assert torch.equal(more[:2], samples)
    assert more.shape == (6, 2, 1)
    torch.testing.assert_close(more[2:5], samples[:1].expand(3, 2, 1), atol=0.02, rtol=0)  # the variance is the ridge
    assert statistics.filled(samples, labels, 1, rng)[1].tolist() == [1, 1, 0]


def test_numbers_that_are_none_pass_through_so_that_the_loss_tells_of_them() -> None:
    memory: dict[str, torch.Tensor] = {}
    statistics = ClassStatistics(memory, 1)
    statistics.fold(torch.full((2, 3), torch.nan), torch.zeros(2, dtype=torch.int64), torch.ones(2))
    assert statistics.draw([2], np.random.default_rng(0))[0].isnan().all()
