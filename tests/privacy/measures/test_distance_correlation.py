"""Distance correlation: dcor's figures, its invariances, its gradient, and an interval that holds."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from sglr.core.errors import UsageError
from sglr.privacy.measures import distance_correlation as module
from sglr.privacy.measures.distance_correlation import distance_correlation, measure

SHAPES = st.tuples(st.integers(5, 40), st.integers(1, 6), st.integers(1, 6), st.integers(0, 10**6))


def drawn(count: int, of_x: int, of_y: int, seed: int) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(count, of_x, generator=rng, dtype=torch.float64)
    noise = torch.randn(count, of_y, generator=rng, dtype=torch.float64)
    return x, noise + x[:, :1].square()


@pytest.mark.slow
def test_both_forms_are_those_of_dcor() -> None:
    import dcor  # it compiles for most of a minute, the first time

    shapes = [(5, 1, 1, 0), (6, 3, 1, 1), (17, 2, 6, 2), (40, 6, 6, 3), (200, 1, 40, 4), (33, 40, 2, 5)]
    pairs = [drawn(*shape) for shape in shapes]
    pairs += [(x[[0, *range(len(x))]], y[[0, *range(len(y))]]) for x, y in pairs]  # two points coincide
    for x, y in pairs:
        plain = dcor.distance_correlation(x.numpy(), y.numpy(), method="naive")
        unbiased = dcor.u_distance_correlation_sqr(x.numpy(), y.numpy(), method="naive")
        assert float(distance_correlation(x, y)) == pytest.approx(plain, abs=1e-6)
        assert float(distance_correlation(x, y, squared=True)) == pytest.approx(plain**2, abs=1e-6)
        assert float(distance_correlation(x, y, unbiased=True, squared=True)) == pytest.approx(unbiased, abs=1e-6)


@given(SHAPES, st.booleans())
def test_neither_rotation_nor_scale_nor_place_matters(shape, unbiased: bool) -> None:
    x, y = drawn(*shape)
    turn, _ = torch.linalg.qr(torch.randn(x.shape[1], x.shape[1], dtype=x.dtype, generator=torch.Generator()))
    before = distance_correlation(x, y, unbiased=unbiased, squared=True)
    after = distance_correlation(-3 * x @ turn + 7, 0.01 * y - 1, unbiased=unbiased, squared=True)
    assert float(after) == pytest.approx(float(before), abs=1e-9)


@given(SHAPES)
def test_a_linear_copy_has_one_and_order_is_all_that_counts(shape) -> None:
    x, y = drawn(*shape)
    assert float(distance_correlation(x, 2 * x - 3)) == pytest.approx(1)
    assert float(distance_correlation(x, 2 * x - 3, unbiased=True)) == pytest.approx(1)
    assert float(distance_correlation(x, y)) == pytest.approx(float(distance_correlation(y, x)))
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    assert float(distance_correlation(x[order], y[order])) == pytest.approx(float(distance_correlation(x, y)))


def test_the_biased_form_grows_with_dimensions_and_the_unbiased_does_not() -> None:
    rng = torch.Generator().manual_seed(0)
    x, y = torch.randn(50, 500, generator=rng), torch.randn(50, 500, generator=rng)
    assert float(distance_correlation(x, y)) > 0.9
    assert abs(float(distance_correlation(x, y, unbiased=True, squared=True))) < 0.1


def test_the_gradient_is_right() -> None:
    x, y = drawn(7, 2, 3, 0)
    for unbiased in (False, True):
        assert torch.autograd.gradcheck(
            lambda a, b, form=unbiased: distance_correlation(a, b, unbiased=form),
            (x.requires_grad_(), y.requires_grad_()),
        )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("case", ["some coincide", "all coincide", "copies"])
def test_gradients_are_finite_where_points_coincide(case: str, dtype: torch.dtype) -> None:
    x, y = (each.to(dtype) for each in drawn(8, 3, 2, 1))
    x = {"some coincide": x[[0, 0, 0, 1, 2, 2, 3, 4]], "all coincide": x[[0] * 8], "copies": x}[case].requires_grad_()
    y = x.detach().clone() if case == "copies" else y
    value = distance_correlation(x, y)
    (gradient,) = torch.autograd.grad(value, x)
    assert torch.isfinite(gradient).all()
    assert bool(gradient.any()) == (case == "some coincide") or case == "copies"


def test_a_client_that_lowers_it_becomes_less_dependent() -> None:
    x, _ = drawn(64, 3, 3, 2)
    weight = torch.eye(3, dtype=x.dtype).requires_grad_()
    noise = torch.randn(64, 3, dtype=x.dtype, generator=torch.Generator().manual_seed(3))
    optimizer = torch.optim.SGD([weight], 0.5)
    values = []
    for _ in range(40):
        loss = distance_correlation(x, x @ weight + noise)
        values.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert values[-1] < 0.6 * values[0]


def test_chunks_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = drawn(50, 3, 2, 4)
    whole, interval = distance_correlation(x, y), measure(x, y)
    monkeypatch.setattr(module, "CHUNK", 7)
    assert float(distance_correlation(x, y)) == pytest.approx(float(whole), abs=1e-12)
    assert measure(x, y).low == pytest.approx(interval.low, abs=1e-12)


@pytest.mark.parametrize("unbiased", [False, True])
def test_single_precision_far_from_the_origin_is_close_enough(unbiased: bool) -> None:
    x, y = drawn(100, 20, 5, 5)
    exact = float(distance_correlation(x, y, unbiased=unbiased))
    assert float(distance_correlation(x.float() + 100, y.float(), unbiased=unbiased)) == pytest.approx(exact, abs=1e-4)


def test_the_interval_is_the_jackknifes() -> None:
    x, y = drawn(20, 2, 2, 6)
    rows = np.arange(20)
    without = [float(distance_correlation(x[rows != k], y[rows != k], unbiased=True, squared=True)) for k in rows]
    error = np.sqrt(19 * np.var(without))
    found = measure(x, y, squared=True)
    assert found.high - found.value == pytest.approx(1.959964 * error)
    assert found.value - found.low == pytest.approx(1.959964 * error)


def test_intervals_hold_zero_for_independent_samples() -> None:
    rng = torch.Generator().manual_seed(7)
    found = [measure(torch.randn(60, 3, generator=rng), torch.randn(60, 3, generator=rng)) for _ in range(100)]
    assert sum(each.low <= 0 <= each.high for each in found) >= 92


def test_intervals_hold_what_many_samples_have() -> None:
    many = measure(*drawn(2000, 2, 2, 8)).value
    found = [measure(*drawn(300, 2, 2, seed)) for seed in range(30)]
    assert sum(each.low <= many <= each.high for each in found) >= 26
    assert sum(each.low > 0 for each in found) >= 29


@pytest.mark.parametrize(
    ("x", "y", "problem"),
    [
        (torch.zeros(8, 2), torch.zeros(8, 2), "needs 16 samples"),
        (torch.arange(20.0), torch.arange(19.0), "y has 19|smashed has 19"),
        (torch.arange(20.0), torch.zeros(20), "all samples are the same"),
        (torch.arange(20.0), torch.full((20,), torch.nan), "not finite"),
        (torch.tensor(1.0), torch.arange(20.0), "needs 16 samples"),
    ],
    ids=["few", "lengths", "constant", "nan", "scalar"],
)
def test_unfit_samples_are_refused(x: Tensor, y: Tensor, problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        measure(x, y)


def test_a_number_needs_pairs() -> None:
    with pytest.raises(UsageError, match="4 or more"):
        distance_correlation(torch.arange(3.0), torch.arange(3.0), unbiased=True)
