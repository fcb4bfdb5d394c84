"""Eq. 18 of binned samples: by hand, as infomeasure has it, and with an interval that holds."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from sglr.core.errors import UsageError
from sglr.privacy.measures.plug_in import binned_information, symbol_information, symbols

TABLE = torch.tensor([[0.3, 0.1, 0.0], [0.05, 0.25, 0.3]])


def drawn(table: Tensor, count: int, seed: int) -> tuple[Tensor, Tensor]:
    cells = torch.multinomial(table.flatten(), count, replacement=True, generator=torch.Generator().manual_seed(seed))
    return cells // table.shape[1], cells % table.shape[1]


def information(table: Tensor) -> float:
    ratio = table / (table.sum(1, keepdim=True) * table.sum(0))
    return float((table * ratio.where(table > 0, torch.ones(())).log()).sum())


def test_eq_18_by_hand() -> None:
    """A fair bit that is kept three times of four: ln 2 − H(1/4)."""
    x, y = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1]), torch.tensor([0, 0, 0, 1, 1, 1, 1, 0])
    by_hand = math.log(2) + 0.25 * math.log(0.25) + 0.75 * math.log(0.75)
    assert symbol_information(x, y, miller_madow=False).value == pytest.approx(by_hand)
    assert symbol_information(x, y, miller_madow=True).value == pytest.approx(by_hand - 1 / 16)


@given(st.lists(st.tuples(st.integers(-3, 3), st.integers(0, 4)), min_size=8, max_size=60))
def test_it_is_infomeasures(pairs: list[tuple[int, int]]) -> None:
    import infomeasure

    pairs = [*pairs, (0, 0), (1, 1)]
    x, y = torch.tensor(pairs).T
    for approach, corrected in (("discrete", False), ("miller_madow", True)):
        other = infomeasure.mutual_information(x.numpy(), y.numpy(), approach=approach)
        assert symbol_information(x, y, miller_madow=corrected).value == pytest.approx(other, abs=1e-9)


@given(st.lists(st.integers(0, 5), min_size=4, max_size=60), st.permutations(range(6)))
def test_other_names_for_symbols_change_nothing(values: list[int], names: list[int]) -> None:
    x = torch.tensor([*values, 0, 1])
    y = (x * 7) % 3
    renamed = torch.tensor(names)[x]
    if len(torch.unique(y)) > 1:
        expected = symbol_information(x, y, miller_madow=False).value
        assert symbol_information(renamed, y, miller_madow=False).value == pytest.approx(expected)
        assert symbol_information(y, x, miller_madow=False).value == pytest.approx(expected)
    assert symbol_information(x, renamed, miller_madow=False).value == pytest.approx(_entropy(x))


def _entropy(x: Tensor) -> float:
    shares = torch.unique(x, return_counts=True)[1] / len(x)
    return float(-(shares * shares.log()).sum())


def test_the_correction_takes_away_most_of_the_bias() -> None:
    known = information(TABLE)
    plain, corrected = (
        torch.tensor([symbol_information(*drawn(TABLE, 50, s), miller_madow=mm).value for s in range(400)]).mean()
        for mm in (False, True)
    )
    assert plain - known > 0.005
    assert abs(corrected - known) < 0.5 * (plain - known)


@pytest.mark.parametrize("table", [TABLE, torch.full((4, 4), 1 / 16)], ids=["dependent", "independent"])
def test_nineteen_of_twenty_intervals_hold_the_truth(table: Tensor) -> None:
    found = [symbol_information(*drawn(table, 200, seed), miller_madow=True) for seed in range(200)]
    assert sum(each.low <= information(table) <= each.high for each in found) >= 183
    assert all(each.low <= each.value <= each.high for each in found)


def test_bins_hold_equally_many_samples() -> None:
    rows = torch.randn(1000, 5, generator=torch.Generator().manual_seed(0)).exp()
    found = symbols(rows, bins=4, components=2, seed=0)
    assert set(found.tolist()) == set(range(16))
    assert torch.bincount(found % 4).tolist() == torch.bincount(found // 4).tolist() == [250] * 4


def test_binned_gaussians_are_near_their_own_truth_and_below_the_whole() -> None:
    """The truth of the bins comes from very many samples."""
    correlation, rng = 0.9, torch.Generator().manual_seed(1)
    x, noise = torch.randn(2, 400_000, 1, generator=rng)
    y = correlation * x + math.sqrt(1 - correlation**2) * noise
    known = binned_information(x, y, seed=0, components=1).value
    found = binned_information(x[:4096], y[:4096], seed=0, components=1)
    assert found.low <= known <= found.high
    assert found.value == pytest.approx(known, rel=0.1)
    assert found.value < -0.5 * math.log(1 - correlation**2)


def test_images_and_smashed_data_become_sixteen_symbols_each() -> None:
    images = torch.randn(1100, 1, 12, 12, generator=torch.Generator().manual_seed(2))
    images[:, :, :6] += 3 * images[:, :, :1, :1]
    found = binned_information(images, images[:, :, ::2, ::2].relu(), seed=0)
    assert 0 < found.low < found.value <= math.log(16)
    assert found == binned_information(images, images[:, :, ::2, ::2].relu(), seed=0)
    assert "4 equally frequent bins of each of 2 principal components" in found.estimator


@pytest.mark.parametrize(
    ("x", "y", "problem"),
    [
        (torch.randn(1000, 4), torch.randn(1000, 4), "needs 1024 samples"),
        (torch.randn(2000, 4), torch.randn(1999, 4), "smashed has 1999"),
        (torch.randn(2000, 4), torch.ones(2000, 4), "all samples are the same"),
        (torch.randn(2000, 4) / 0, torch.ones(2000, 4), "not finite"),
    ],
    ids=["few", "lengths", "constant", "infinite"],
)
def test_unfit_samples_are_refused(x: Tensor, y: Tensor, problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        binned_information(x, y, seed=0)


def test_one_bin_is_refused() -> None:
    with pytest.raises(UsageError, match="2 bins"):
        binned_information(torch.randn(2000, 4), torch.randn(2000, 4), seed=0, bins=1)
