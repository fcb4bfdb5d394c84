"""Estimates: intervals by hand, and as many of them hold the truth as they claim."""

from __future__ import annotations

import json
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sglr.privacy.measures.estimate import Estimate, mean_estimate, share_estimate


def test_students_interval_of_a_mean_by_hand() -> None:
    found = mean_estimate(torch.tensor([1.0, 2.0, 3.0]), "mean", "nats")
    assert found.value == pytest.approx(2)
    assert found.high - found.value == pytest.approx(4.302653 / math.sqrt(3))
    assert (found.unit, found.samples) == ("nats", 3)


def test_one_value_has_no_interval() -> None:
    found = mean_estimate(torch.tensor([1.0]), "mean", "nats")
    assert (found.value, found.low, found.high) == (1.0, None, None)


def test_wilsons_interval_as_published() -> None:
    """Wilson's own interval for 9 of 10, as tables give it."""
    found = share_estimate(9, 10, "share")
    assert (found.low, found.high) == (pytest.approx(0.5958, abs=1e-4), pytest.approx(0.9821, abs=1e-4))


@given(st.integers(1, 5000), st.data())
def test_a_share_lies_in_its_interval_and_that_in_the_unit_interval(count: int, data: st.DataObject) -> None:
    found = share_estimate(data.draw(st.integers(0, count)), count, "share")
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert found.high > found.low


def test_nineteen_of_twenty_intervals_hold_the_mean() -> None:
    draws = torch.randn(1000, 10, generator=torch.Generator().manual_seed(0)) + 3
    found = [mean_estimate(row, "mean", "1") for row in draws]
    assert sum(each.low <= 3 <= each.high for each in found) == pytest.approx(950, abs=25)


def test_a_record_is_json_and_knows_no_infinity() -> None:
    record = Estimate(math.nan, -math.inf, None, "none", "nats", 4).record()
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert record == {"value": None, "low": None, "high": None, "estimator": "none", "unit": "nats", "samples": 4}
