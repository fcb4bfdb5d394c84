"""SplitLr, eq. 11-13."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

import sglr
from sglr.core.errors import UsageError
from sglr.core.registry import METHODS
from sglr.core.split_lr import MOST_ALPHA, check_alpha, split_lr

ALPHA = st.floats(0, 3)
SIZES = st.lists(st.integers(1, 64), min_size=1, max_size=20)


@pytest.mark.parametrize(
    ("sizes", "alpha", "factor"),
    [
        ([8] * 20, 0.5, math.sqrt(20)),
        ([8] * 20, 1.0, 20.0),
        ([8] * 6, 1.5, 6 * math.sqrt(6)),
        ([8] * 10, 2.0, 100.0),
        ([8, 4, 2, 2], 1.0, 2.0),  # |B_s| = 16, b = 8
        ([1, 3], 2.0, (4 / 3) ** 2),
    ],
)
def test_factor_by_hand(sizes: list[int], alpha: float, factor: float) -> None:
    assert split_lr(sizes, alpha) == pytest.approx(factor, rel=1e-12)


@given(SIZES)
def test_zero_is_off_exactly(sizes: list[int]) -> None:
    assert split_lr(sizes, 0.0) == 1.0


@given(st.integers(1, 64), ALPHA)
def test_one_client_learns_at_its_own_rate_exactly(size: int, alpha: float) -> None:
    assert split_lr([size], alpha) == 1.0


@given(st.integers(1, 64), st.integers(1, 100), ALPHA)
def test_equal_batches_give_eq_13(size: int, clients: int, alpha: float) -> None:
    assert split_lr([size] * clients, alpha) == pytest.approx(clients**alpha, rel=1e-9)


@given(SIZES, ALPHA, st.integers(1, 64))
def test_the_rate_grows_as_eq_12_with_the_effective_batch(sizes: list[int], alpha: float, more: int) -> None:
    """A further client with a batch no larger than the largest multiplies η_s by (|B_s'| / |B_s|)^α."""
    joined = [*sizes, min(more, max(sizes))]
    growth = (sum(joined) / sum(sizes)) ** alpha
    assert split_lr(joined, alpha) == pytest.approx(split_lr(sizes, alpha) * growth, rel=1e-9)


@given(SIZES, ALPHA)
def test_batches_that_are_unequal_by_intent_give_eq_13_whoever_has_most(sizes: list[int], alpha: float) -> None:
    assert split_lr(sizes, alpha, unequal=True) == pytest.approx(len(sizes) ** alpha, rel=1e-12)
    mean = sum(sizes) / len(sizes)
    assert split_lr(sizes, alpha, unequal=True) == pytest.approx((sum(sizes) / mean) ** alpha, rel=1e-9)


@pytest.mark.parametrize("alpha", [0, 0.5, 2, 50])
def test_takes_exponents_that_make_sense(alpha: float) -> None:
    check_alpha(alpha)


@pytest.mark.parametrize("alpha", [-1e-9, 50.1, 400, math.inf, -math.inf, math.nan])
def test_refuses_exponents_that_make_none(alpha: float) -> None:
    with pytest.raises(UsageError, match=r"^alpha = "):
        check_alpha(alpha)


def test_the_largest_exponent_is_a_number_with_a_million_clients_and_a_larger_one_is_named_before_data_are_read() -> (
    None
):
    assert math.isfinite(split_lr([1] * 10**6, MOST_ALPHA))
    with pytest.raises(UsageError, match=r"^alpha = 400.0: is above 50; give 0"):
        sglr.train("sglr", alpha=400, dataset="folder:nowhere", clients=8)
    assert METHODS.load("sglr2")(gamma=400).gamma == 400
