"""MergeSFL's training is SplitFed with regulated batches."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import sglr
from sglr.core.errors import UsageError
from sglr.data.arrivals import time_per_sample
from sglr.data.batch_rule import BatchRule
from sglr.data.batches import Batching
from sglr.data.stragglers import Pace

SETTINGS = {"dataset": "digits", "clients": 4, "samples_per_client": 48, "epochs": 1, "model": "mlp", "threads": 1}


def test_it_is_splitfed_with_regulated_batches() -> None:
    first = sglr.train("mergesfl", **SETTINGS)
    assert first.experiment.batching == "regulated"
    second = sglr.train("sfl", batching="regulated", **SETTINGS)
    assert first.summary["weights_sha256"] == second.summary["weights_sha256"]
    assert first.summary["weights_sha256"] != sglr.train("sfl", **SETTINGS).summary["weights_sha256"]


def test_a_batch_is_in_proportion_to_its_clients_speed() -> None:
    """By hand: of 12 samples, clients that take 1, 2 and 3 for one have 12 · (6, 3, 2) / 11, rounded down."""
    batching = Batching(4, rule=BatchRule("regulated"))
    found = batching._regulated(np.array([20, 20, 20]), Pace(np.zeros(3), np.array([1.0, 2.0, 3.0])))
    assert found.each.tolist() == [6, 3, 2]
    assert [found.at(step)[1].tolist() for step in (0, 3, 6, 9)] == [[6, 3, 2], [2, 3, 2], [0, 2, 2], [0, 0, 2]]
    assert (found.steps, found.used.tolist()) == (10, [20, 20, 20])


@given(
    sizes=st.lists(st.integers(2, 60), min_size=1, max_size=6),
    batch=st.integers(1, 9),
    spread=st.floats(1, 100),
    seed=st.integers(0, 99),
)
def test_nobody_takes_longer_than_if_all_had_waited_together(sizes, batch, spread, seed) -> None:
    """Each batch of more than one sample is done when B samples are, at the clients' joint speed."""
    batching = Batching(batch, rule=BatchRule("regulated", spread=spread))
    schedule = batching.schedule(np.array(sizes), seed, 0)
    time = time_per_sample(range(len(sizes)), spread, seed)
    together = batch * len(sizes) / (1 / time).sum()
    first, counts = schedule.at(0)
    assert not first.any()
    assert all(count == 1 or count * each <= together * (1 + 1e-9) for count, each in zip(counts, time, strict=True))
    assert schedule.used.tolist() == sizes


def test_with_one_speed_batches_are_local() -> None:
    sizes = np.array([20, 13, 8])
    rule, local = Batching(4, rule=BatchRule("regulated", spread=1.0)), Batching(4)
    for step in range(5):
        for one, other in zip(rule.schedule(sizes, 3, 0).at(step), local.schedule(sizes, 3, 0).at(step), strict=True):
            assert one.tolist() == other.tolist()


@pytest.mark.parametrize("text", ["regulated:0.5", "regulated:clients=2"])
def test_what_is_no_rule_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="batching"):
        BatchRule.parse(text)
