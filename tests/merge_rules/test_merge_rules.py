"""The equations of the merge rules by hand, and the laws that they obey whatever clients send."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from sglr.core.errors import UsageError
from sglr.core.merging import MergeRule, Merging, middle_mean
from sglr.core.merging import merge_rule as sums
from sglr.core.registry import MERGE_RULES
from sglr.core.weights import weighted_mean
from sglr.merge_rules.mean import Mean
from sglr.merge_rules.median import Median
from sglr.merge_rules.norm_bound import NormBound
from sglr.merge_rules.trimmed_mean import TrimmedMean

RULES = (Mean(), Median(), TrimmedMean(), TrimmedMean(0.4), NormBound(), NormBound(0.5))
every_rule = pytest.mark.parametrize("rule", RULES, ids=str)


def equal_shares(clients: int) -> Tensor:
    return torch.full((clients,), 1 / clients, dtype=torch.float64)


def merge(rule: MergeRule, weights: dict[str, Tensor], last: dict[str, Tensor] | None = None, **given) -> dict:
    clients = len(next(iter(weights.values())))
    zeros = {name: torch.zeros_like(tensor[0]) for name, tensor in weights.items()}
    given = {"shares": equal_shares(clients), **given}
    return dict(Merging(rule, tuple(range(clients)), last=last or zeros, **given).merge(weights))


def test_every_registered_rule_is_tested_here() -> None:
    assert {type(rule) for rule in RULES} == {MERGE_RULES.load(name) for name in MERGE_RULES.names()}


# Equations by hand.


def test_the_mean_is_weighted_by_samples() -> None:
    found = merge(Mean(), {"w": torch.tensor([[1.0], [5.0]])}, shares=torch.tensor([0.75, 0.25]))
    assert found["w"].tolist() == [2.0]


def test_the_median_of_each_coordinate() -> None:
    weights = {"w": torch.tensor([[1.0, -9.0], [2.0, 0.5], [100.0, 0.0]])}
    assert merge(Median(), weights)["w"].tolist() == [2.0, 0.0]


def test_the_median_of_an_even_number_is_the_mean_of_the_middle_two() -> None:
    weights = {"w": torch.tensor([4.0, 1.0, 1000.0, 2.0])}
    assert merge(Median(), weights)["w"].item() == 3.0


def test_the_trimmed_mean_of_each_coordinate() -> None:
    """Of 5 clients and β = 0.2, ⌊1⌋ is left out at either end: (2 + 3 + 7) / 3 and (-1 + 0 + 4) / 3."""
    weights = {"w": torch.tensor([[3.0, -1.0], [7.0, 4.0], [2.0, -99.0], [900.0, 5.0], [1.0, 0.0]])}
    assert merge(TrimmedMean(0.2), weights)["w"].tolist() == [4.0, 1.0]


@pytest.mark.parametrize(
    ("share", "clients", "trimmed"), [(0.2, 10, 2), (0.29, 100, 29), (0.1, 30, 3), (0.25, 7, 1), (0.49, 3, 1)]
)
def test_how_many_are_trimmed(share: float, clients: int, trimmed: int) -> None:
    assert TrimmedMean(share).trimmed(clients) == trimmed


@pytest.mark.parametrize(("share", "fewest"), [(0.2, 5), (0.1, 10), (0.49, 3), (0.3, 4), (1 / 3, 3)])
def test_the_fewest_of_which_one_is_trimmed(share: float, fewest: int) -> None:
    rule = TrimmedMean(share)
    assert rule.fewest == fewest
    assert rule.trimmed(fewest) == 1
    assert rule.trimmed(fewest - 1) == 0


def test_median_and_trimmed_mean_count_clients_and_not_samples() -> None:
    weights = {"w": torch.tensor([1.0, 2.0, 30.0])}
    shares = torch.tensor([0.01, 0.01, 0.98], dtype=torch.float64)
    assert merge(Median(), weights, shares=shares)["w"].item() == 2.0
    assert merge(TrimmedMean(0.4), weights, shares=shares)["w"].item() == 2.0


def test_updates_are_bounded_as_a_whole_and_then_averaged_by_samples() -> None:
    """‖Δ_0‖ = ‖(3, 4)‖ = 5 is cut to 1: (0.6, 0.8); ‖Δ_1‖ = 0.5 stays: (0.5, 0)."""
    last = {"a": torch.tensor(10.0), "b": torch.tensor([20.0])}
    weights = {"a": torch.tensor([13.0, 10.5]), "b": torch.tensor([[24.0], [20.0]])}
    found = merge(NormBound(1.0), weights, last, shares=torch.tensor([0.25, 0.75], dtype=torch.float64))
    assert found["a"].item() == pytest.approx(10 + 0.25 * 0.6 + 0.75 * 0.5)
    assert found["b"].item() == pytest.approx(20 + 0.25 * 0.8)


def test_without_a_number_the_bound_is_the_median_of_the_norms() -> None:
    """‖Δ_i‖ = 1, 3, 90: the bound is 3."""
    found = merge(NormBound(), {"w": torch.tensor([1.0, -3.0, 90.0])})
    assert found["w"].item() == pytest.approx((1 - 3 + 3) / 3)


def test_buffers_are_no_updates_and_take_the_median() -> None:
    weights = {
        "w": torch.tensor([0.1, 0.2, 0.3]),
        "running_var": torch.tensor([900.0, 1000.0, 1e9]),
        "num_batches_tracked": torch.tensor([7, 8, 1 << 40]),
    }
    found = merge(NormBound(1.0), weights, buffers={"running_var", "num_batches_tracked"})
    assert found["w"].item() == pytest.approx(0.2)
    assert found["running_var"].item() == 1000.0
    assert found["num_batches_tracked"].item() == 8


def test_the_norm_of_a_huge_update_is_finite() -> None:
    found = merge(NormBound(1.0), {"w": torch.tensor([[1e30, 1e30], [0.0, 0.0]])})
    torch.testing.assert_close(found["w"], torch.full((2,), 0.5 / math.sqrt(2)))


@pytest.mark.parametrize("rule", RULES[1:], ids=str)
def test_whole_numbers_stay_whole(rule: MergeRule) -> None:
    """Of an even number, the middle of 10 and 13 is 11.5, to even, as `weighted_mean` rounds."""
    found = merge(rule, {"count": torch.tensor([10, 13, 13, 10, 10, 13])})
    assert found["count"].dtype == torch.int64
    assert found["count"].item() == 12
    assert merge(rule, {"flag": torch.tensor([True, True, True, False, True])})["flag"].item() is True


def test_a_segment_without_anything_to_merge() -> None:
    for rule in RULES:
        assert Merging(rule, tuple(range(5)), equal_shares(5), {}).merge({}) == {}


def test_what_is_sorted_at_once_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = torch.randn(7, 5, 3)
    whole = middle_mean(rows, 2)
    monkeypatch.setattr(sums, "WORKSPACE", 20)  # two coordinates at a time
    assert torch.equal(middle_mean(rows, 2), whole)
    wanted = rows.sort(0).values[2:5].double().mean(0).float()
    assert torch.equal(whole, wanted)


@pytest.mark.parametrize("kind", [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64], ids=str)
def test_every_type_of_numbers_is_sorted_as_torch_does(kind: torch.dtype) -> None:
    rows = (torch.randn(9, 6) * 100).to(kind)
    wanted = rows.sort(0).values[3:6].double().mean(0)
    found = middle_mean(rows, 3)
    assert found.dtype == kind
    assert torch.equal(found, (wanted if kind.is_floating_point else wanted.round()).to(kind))


def test_what_is_no_number_counts_as_the_largest() -> None:
    rows = torch.tensor([1.0, math.nan, 2.0, -math.inf, 3.0])
    assert middle_mean(rows, 1).item() == 2.0


# Laws.

values = st.floats(-1e6, 1e6, width=32)


def rows_of(draw: st.DrawFn, least: int, most: int = 12) -> Tensor:
    clients, width = draw(st.integers(least, most)), draw(st.integers(1, 4))
    row = st.lists(values, min_size=width, max_size=width)
    return torch.tensor(draw(st.lists(row, min_size=clients, max_size=clients)))


@every_rule
@given(data=st.data())
def test_who_is_who_makes_no_difference(rule: MergeRule, data: st.DataObject) -> None:
    rows = rows_of(data.draw, rule.fewest)
    order = torch.tensor(data.draw(st.permutations(range(len(rows)))))
    sizes = torch.tensor(data.draw(st.lists(st.integers(1, 9), min_size=len(rows), max_size=len(rows)))).double()
    shares = sizes / sizes.sum()
    first = merge(rule, {"w": rows}, shares=shares)["w"]
    second = merge(rule, {"w": rows[order]}, shares=shares[order])["w"]
    if isinstance(rule, Median | TrimmedMean):
        assert torch.equal(first, second)
    else:
        torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-5 * float(rows.abs().max()))


@pytest.mark.parametrize("rule", [Median(), TrimmedMean(), NormBound(), NormBound(1e9)], ids=str)
@given(data=st.data())
def test_who_agree_keep_what_they_have(rule: MergeRule, data: st.DataObject) -> None:
    row = torch.tensor(data.draw(st.lists(values, min_size=1, max_size=4)))
    rows = row.expand(data.draw(st.integers(rule.fewest, 40)), -1)
    found = merge(rule, {"w": rows})["w"]
    if isinstance(rule, NormBound):  # δ_i are not exact
        torch.testing.assert_close(found, row, rtol=1e-5, atol=1e-40)
    else:
        assert torch.equal(found, row)


@pytest.mark.parametrize("rule", [Median(), TrimmedMean(0.2), TrimmedMean(0.34), TrimmedMean(0.45)], ids=str)
@given(data=st.data())
def test_a_few_attackers_leave_every_weight_in_the_range_of_the_others(rule: MergeRule, data: st.DataObject) -> None:
    rows = rows_of(data.draw, rule.fewest)
    most = rule.trimmed(len(rows)) if isinstance(rule, TrimmedMean) else (len(rows) - 1) // 2
    wild = st.sampled_from([-math.inf, math.inf, 1e30, -1e30, 0.0, 1.0])
    bad = data.draw(st.lists(wild, min_size=most, max_size=most))
    honest = rows[most:]
    for place, value in enumerate(bad):
        rows[place] = value
    found = merge(rule, {"w": rows})["w"]
    assert torch.all(found >= honest.min(0).values)
    assert torch.all(found <= honest.max(0).values)


@given(data=st.data(), bound=st.floats(0.01, 100))
def test_no_client_moves_the_shared_weights_further_than_its_share_of_the_bound(data, bound: float) -> None:
    rows = rows_of(data.draw, 3)
    last = {"w": torch.tensor(data.draw(st.lists(values, min_size=rows.shape[1], max_size=rows.shape[1])))}
    others = rows.clone()
    others[0] = last["w"]  # the client does not move
    rows[0] = 1e30
    with_it, without = (merge(NormBound(bound), {"w": each.double()}, last)["w"] for each in (rows, others))
    moved = float((with_it - without).norm())
    assert moved <= bound / len(rows) * (1 + 1e-6) + 1e-9 * float(others.abs().max())


@given(data=st.data())
def test_a_bound_that_nobody_reaches_is_the_mean_bit_for_bit(data: st.DataObject) -> None:
    rows = rows_of(data.draw, 1)
    shares = equal_shares(len(rows))
    assert torch.equal(merge(NormBound(1e12), {"w": rows})["w"], weighted_mean({"w": rows}, shares)["w"])


def test_nobody_moved_is_no_division_by_zero() -> None:
    last = {"w": torch.tensor([1.0, 2.0])}
    assert merge(NormBound(), {"w": torch.tensor([[1.0, 2.0]] * 3)}, last)["w"].tolist() == [1.0, 2.0]


@every_rule
def test_too_few_clients_leave_the_weights_as_they_were(rule: MergeRule) -> None:
    """Or whoever makes others late would do away with the rule."""
    last = {"w": torch.tensor([1.0])}
    present = rule.fewest - 1
    merging = Merging(rule, tuple(range(present)), equal_shares(max(1, present)), last)
    found = merging.merge({"w": torch.full((present, 1), 8.0)}) if present else last
    assert found["w"].item() == 1.0
    assert f"needs {rule.fewest} clients, and {present} are present" in merging.too_few
    enough = replace(merging, clients=tuple(range(rule.fewest)), shares=equal_shares(rule.fewest))
    assert enough.too_few == ""
    assert enough.merge({"w": torch.full((rule.fewest, 1), 8.0)})["w"].item() > 1.0


# Bad parameters.


@pytest.mark.parametrize("share", [0.0, -0.1, 1e-320, math.nan])
def test_a_share_that_trims_nothing_is_refused(share: float) -> None:
    with pytest.raises(UsageError, match=rf"trimmed_share = {share}: trims nothing; give a number between 0 and 0.5"):
        TrimmedMean(share)


@pytest.mark.parametrize("share", [0.5, 1.0, math.inf])
def test_a_share_that_trims_everything_is_refused(share: float) -> None:
    with pytest.raises(UsageError, match=rf"trimmed_share = {share}: trims everything"):
        TrimmedMean(share)


@pytest.mark.parametrize("bound", [0.0, -1.0, math.inf, math.nan])
def test_a_bound_that_is_none_is_refused(bound: float) -> None:
    with pytest.raises(UsageError, match=r"norm_bound = .*: is not a positive number; give a number above 0, or none"):
        NormBound(bound)
