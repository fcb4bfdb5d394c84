"""The server's account of who uses what in a step, where clients come and go."""

from __future__ import annotations

import pytest

from sglr.data.batch_rule import BatchRule
from sglr.data.batches import Batching
from sglr.engines.remote.server.batch_plan import Batch, BatchPlan

SIZES = (9, 5, 0, 4)  # the third has not joined


def plan(rule: str, here: set[int], least: int = 1) -> BatchPlan:
    return BatchPlan(Batching(4, least=least, rule=BatchRule.parse(rule)), 3, here.__contains__)


def test_by_the_rule_local_who_joins_takes_part_from_the_step_at_hand_on() -> None:
    here = {0, 1}
    told = plan("local", here)
    assert not told.told
    assert told.begin((0, 1, 2, 3), 0, SIZES) == 3
    assert told.at(1, SIZES) == {0: Batch(4, 4), 1: Batch(4, 1)}
    here |= {2}
    assert told.at(1, (9, 5, 8, 4)) == {0: Batch(4, 4), 1: Batch(4, 1), 2: Batch(4, 4)}
    assert told.state() == {}


@pytest.mark.parametrize("rule", ["global:6", "proportional:6"])
def test_by_the_others_the_batches_of_an_epoch_stay_whoever_leaves_or_joins(rule: str) -> None:
    here = {0, 1, 3}
    told = plan(rule, here)
    steps = told.begin((0, 1, 2, 3), 2, SIZES)
    assert steps == 3
    whole = [told.at(step, SIZES) for step in range(steps)]
    here -= {0}
    here |= {2}
    later = (9, 5, 8, 4)
    assert [told.at(step, later) for step in range(steps)] == [
        {client: batch for client, batch in own.items() if client != 0} for own in whole
    ]
    told.begin((0, 1, 2, 3), 3, later)
    assert any(2 in told.at(step, later) for step in range(3))


@pytest.mark.parametrize("rule", ["global:6", "proportional:6"])
def test_an_epoch_that_is_resumed_goes_on_with_the_batches_that_it_began_with(rule: str) -> None:
    here = {0, 1, 3}
    told = plan(rule, here)
    told.begin((0, 1, 2, 3), 2, SIZES)
    whole = [told.at(step, SIZES) for step in range(3)]
    again = plan(rule, here)
    again.restore(told.state())
    again.begin((0, 1, 2, 3), 2, (9, 5, 8, 0))
    assert [again.at(step, SIZES) for step in range(3)] == whole


def test_who_owns_too_few_samples_has_no_batch() -> None:
    told = plan("proportional:6", {0, 1, 2}, least=2)
    assert told.begin((0, 1, 2), 0, (6, 1, 6)) == 2  # of three samples each
    assert [sorted(told.at(step, ())) for step in range(2)] == [[0, 2], [0, 2]]
