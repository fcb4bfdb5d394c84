"""Batches that arrive on a simulated clock: in time's order, each once, and nobody twice in a step."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sglr.data.arrivals import Arrivals, time_per_sample
from sglr.data.schedules import Consecutive

SIZES = st.lists(st.integers(0, 30), min_size=1, max_size=8)


def arrivals(sizes: list[int], each: list[float], uploads: int, batch: int = 4, least: int = 1) -> Arrivals:
    return Arrivals(Consecutive(np.array(sizes), np.array(batch), least), np.array(each), uploads)


def steps_of(schedule: Arrivals) -> list[dict[int, tuple[int, int]]]:
    """Who arrives in each step: first position and number of samples, by client."""
    found = []
    for step in range(schedule.steps):
        first, counts = schedule.at(step)
        found.append({int(i): (int(first[i]), int(counts[i])) for i in np.flatnonzero(counts)})
    return found


def test_by_hand() -> None:
    """A sample takes the fast client 1 and the slow one 3; batches have two samples."""
    found = steps_of(arrivals([7, 3], [1.0, 3.0], uploads=2, batch=2))
    assert found == [
        {0: (0, 2)},  # at 2: the same client is next, at 4
        {0: (2, 2)},
        {0: (4, 2), 1: (0, 2)},  # both at 6; at 7 the last of client 0
        {0: (6, 1), 1: (2, 1)},  # at 7, and at 9
    ]


@given(SIZES, st.integers(1, 5), st.integers(1, 2), st.integers(0, 2**31))
def test_every_batch_arrives_once_in_the_order_of_time(sizes: list[int], uploads: int, least: int, seed: int) -> None:
    each = np.random.default_rng(seed).uniform(0.2, 2, len(sizes))
    schedule = arrivals(sizes, each.tolist(), uploads, least=least)
    own, found = schedule.own, steps_of(schedule)
    batches = [(client, *place) for step in found for client, place in step.items()]
    for client in range(len(sizes)):
        wanted = [own.at(number) for number in range(int(own.own_steps[client]))]
        mine = [(first, count) for who, first, count in batches if who == client]
        assert mine == [(int(first[client]), int(count[client])) for first, count in wanted]
    times = [sorted((first + count) * each[who] for who, (first, count) in step.items()) for step in found]
    assert all(before[-1] <= after[0] for before, after in itertools.pairwise(times))
    assert schedule.used.tolist() == own.used.tolist()
    assert all(1 <= len(step) <= uploads for step in found)
    over = np.cumsum([len(step) for step in found])
    assert {uploads * k for k in range(1, len(batches) // uploads + 1)} <= set(over.tolist())


def test_after_the_last_step_nobody_arrives() -> None:
    schedule = arrivals([5, 4], [1.0, 1.0], uploads=1)
    assert not schedule.at(schedule.steps)[1].any()
    assert arrivals([0, 0], [1.0, 1.0], uploads=1).steps == 0


def test_a_client_keeps_its_pace_whoever_else_is_at_work() -> None:
    everyone = time_per_sample(range(6), 10.0, 3)
    assert time_per_sample([1, 4], 10.0, 3).tolist() == everyone[[1, 4]].tolist()
    assert len(set(everyone.tolist())) == 6
    assert time_per_sample(range(6), 10.0, 4).tolist() != everyone.tolist()


@pytest.mark.parametrize("spread", [1.0, 10.0, 100.0])
def test_rates_are_between_one_and_the_spread(spread: float) -> None:
    found = time_per_sample(range(500), spread, 0)
    assert found.min() >= 2 / spread
    assert found.max() <= 2.0
    if spread == 1.0:
        assert set(found.tolist()) == {2.0}
    else:
        assert found.max() / found.min() > 0.3 * spread
