"""Batching rules: who has how many samples in which step, where that depends on what all clients own."""

from __future__ import annotations

from collections import Counter
from itertools import product
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sglr.core.errors import UsageError
from sglr.core.random import generator
from sglr.data.batch_rule import BatchRule
from sglr.data.batches import Batching
from sglr.data.schedules import Part, Schedule

SIZES = st.lists(st.integers(1, 40), min_size=1, max_size=6)


def schedule_of(text: str, sizes: list[int], batch: int = 2, least: int = 1, seed: int = 0, epoch: int = 0) -> Schedule:
    batching = Batching(batch, least=least, rule=BatchRule.parse(text))
    return batching.schedule(np.array(sizes), seed, epoch)


def batches(schedule: Schedule) -> list[list[tuple[int, int]]]:
    """Every client's (first, count) of each step in which it has a batch."""
    steps = [schedule.at(step) for step in range(schedule.steps)]
    return [[(int(first[i]), int(count[i])) for first, count in steps if count[i]] for i in range(len(schedule.used))]


def check_parts_of_the_order(schedule: Schedule, sizes: list[int]) -> None:
    """Batches of a client follow one another in its order, and `used` is their sum."""
    for size, used, own in zip(sizes, schedule.used.tolist(), batches(schedule), strict=True):
        ends = [first + count for first, count in own]
        assert [first for first, _ in own] == [0, *ends[:-1]][: len(own)]
        assert used == (ends[-1] if ends else 0) <= size


# Reading.


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("local", BatchRule()),
        ("proportional", BatchRule("proportional")),
        ("proportional:80", BatchRule("proportional", 80)),
        ("global:samples=160", BatchRule("global", 160)),
        (" global : 5 ", BatchRule("global", 5)),
    ],
)
def test_a_rule_is_read(text: str, rule: BatchRule) -> None:
    assert BatchRule.parse(text) == rule


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("globl", "did you mean 'global'|global"),
        ("local:8", "local has no options"),
        ("global:0", "greater than or equal to 1"),
        ("proportional:-3", "greater than or equal to 1"),
        ("global:many", "invalid value 'many'"),
        ("global:1e3", "invalid value"),
        ("global:10000000000", "less than or equal to"),
        ("clock:0.5", "greater than or equal to 1"),
        ("clock:samples=3", "unknown option 'samples'"),
        ("global:clients=3", "unknown option 'clients'"),
    ],
)
def test_what_is_no_rule_is_refused(text: str, problem: str) -> None:
    with pytest.raises(UsageError, match=problem) as told:
        BatchRule.parse(text)
    assert str(told.value).startswith("batching = ")


# proportional: b_i = max(1, int(B n_i / Σ n)).


def test_proportional_by_hand() -> None:
    schedule = schedule_of("proportional:10", [50, 30, 17, 3])  # Σ n = 100: b = 5, 3, 1 (of 1.7), 1 (of 0.3)
    assert schedule.steps == 10
    assert [count.tolist() for _, count in map(schedule.at, (0, 2, 3, 9))] == [
        [5, 3, 1, 1],
        [5, 3, 1, 1],
        [5, 3, 1, 0],
        [5, 3, 1, 0],
    ]
    assert schedule.used.tolist() == [50, 30, 10, 3]


def test_proportional_with_two_samples_at_least_by_hand() -> None:
    schedule = schedule_of("proportional:10", [51, 30, 17, 3], least=2)  # b = 5, 2 (of 2.97), 2 (of 1.68), 2
    assert batches(schedule)[3] == [(0, 3)]  # not two and then one
    assert batches(schedule)[0][-2:] == [(40, 5), (45, 6)]
    assert (schedule.steps, schedule.used.tolist()) == (11, [51, 22, 17, 3])  # ⌈101 / 10⌉


def test_proportional_lasts_no_longer_than_everybodys_data() -> None:
    schedule = schedule_of("proportional:2", [4, 4, 4, 4])  # one sample of each, though two were asked for
    assert (schedule.steps, schedule.used.tolist()) == (4, [4, 4, 4, 4])


@given(size=st.integers(1, 40), clients=st.integers(1, 6), batch=st.integers(1, 9))
def test_equal_clients_have_the_batches_of_the_rule_local(size: int, clients: int, batch: int) -> None:
    for least in {1, min(2, batch)}:
        local, proportional = (
            batches(schedule_of(text, [size] * clients, batch, least)) for text in ("local", "proportional")
        )
        assert local == proportional


@given(sizes=SIZES, together=st.integers(1, 60), least=st.integers(1, 2))
def test_proportional_shares_follow_the_formula(sizes: list[int], together: int, least: int) -> None:
    schedule, owned = schedule_of(f"proportional:{together}", sizes, least=least), sum(n for n in sizes if n >= least)
    check_parts_of_the_order(schedule, sizes)
    assert schedule.steps <= max(1, -(-owned // together))
    for size, own in zip(sizes, batches(schedule), strict=True):
        share = max(least, int(together * size / max(owned, 1)))
        assert all(count == share for _, count in own[:-1])
        assert all(least <= count <= share + least - 1 for _, count in own[-1:])
        assert bool(own) == (size >= least)
        # At most the rest of the division is left out, of who is not over before.
        if share > least:
            assert sum(count for _, count in own) >= size * share / (share + 1) - share


# global: B of all, drawn without replacement.


@given(sizes=SIZES, together=st.integers(1, 60), seed=st.integers(0, 99), epoch=st.integers(0, 3))
def test_global_uses_every_sample_once_in_full_batches(sizes: list[int], together: int, seed: int, epoch: int) -> None:
    schedule = schedule_of(f"global:{together}", sizes, seed=seed, epoch=epoch)
    check_parts_of_the_order(schedule, sizes)
    assert schedule.used.tolist() == sizes
    assert schedule.steps == -(-sum(sizes) // together)
    totals = [int(schedule.at(step)[1].sum()) for step in range(schedule.steps)]
    assert totals[:-1] == [together] * (schedule.steps - 1)
    assert totals[-1] == sum(sizes) - sum(totals[:-1])


@given(sizes=SIZES, together=st.integers(1, 60), seed=st.integers(0, 99))
def test_global_is_the_shuffled_list_of_all_samples_cut_into_pieces(sizes: list[int], together: int, seed: int) -> None:
    owners = np.repeat(np.arange(len(sizes)), sizes)
    shuffled = generator(seed, "batches", 4).permutation(owners)
    schedule = schedule_of(f"global:{together}", sizes, seed=seed, epoch=4)
    for step in range(schedule.steps):
        piece = shuffled[step * together : (step + 1) * together].tolist()
        assert schedule.at(step)[1].tolist() == [piece.count(client) for client in range(len(sizes))]


def test_a_global_step_follows_the_multivariate_hypergeometric_law() -> None:
    """Three clients of 3, 2 and 1 samples, 3 drawn: all outcomes with their exact chances, 20,000 times."""
    sizes, together, times = [3, 2, 1], 3, 20_000
    first = Counter(tuple(schedule_of("global:3", sizes, epoch=n).at(0)[1].tolist()) for n in range(times))
    outcomes = [o for o in product(*(range(size + 1) for size in sizes)) if sum(o) == together]
    chances = {o: np.prod([comb(n, k) for n, k in zip(sizes, o, strict=True)]) / comb(6, 3) for o in outcomes}
    assert sum(chances.values()) == pytest.approx(1)
    assert first.keys() == chances.keys()
    statistic = sum((first[o] - times * p) ** 2 / (times * p) for o, p in chances.items())
    assert statistic < 20.5  # χ² with 5 degrees of freedom: 0.1 %


def test_class_shares_of_global_batches_deviate_as_those_of_pooled_data() -> None:
    """Clients of one class each: the variance of a class in a batch is that of sampling without replacement."""
    sizes, together = [100, 100, 100, 100], 40
    drawn = [schedule_of("global:40", sizes, epoch=epoch).at(5)[1] for epoch in range(4000)]
    share, rest = 1 / 4, (400 - together) / 399
    assert np.mean(drawn, axis=0) == pytest.approx([10] * 4, abs=0.2)
    assert np.var(drawn, axis=0) == pytest.approx([together * share * (1 - share) * rest] * 4, rel=0.1)


def test_the_default_of_B_is_b_times_the_clients_of_the_cohort() -> None:  # noqa: N802 - the symbol
    for name in ("proportional", "global"):
        steps = [int(schedule_of(name, [10] * clients, batch=4).at(0)[1].sum()) for clients in (1, 3, 5)]
        assert steps == [4, 12, 20]


@pytest.mark.parametrize("text", ["proportional:9", "global:9"])
def test_a_schedule_follows_from_seed_epoch_and_sizes_alone(text: str) -> None:
    sizes = [20, 7, 13]
    one, again, other = (batches(schedule_of(text, sizes, seed=seed, epoch=2)) for seed in (1, 1, 2))
    assert one == again
    assert (one == other) == text.startswith("proportional")
    part = Part(schedule_of(text, sizes, seed=1, epoch=2), (0, 2))
    assert batches(part) == [one[0], one[2]]


@pytest.mark.parametrize("text", ["local", "proportional", "global", "clock", "regulated"])
def test_a_cohort_without_samples_has_no_steps(text: str) -> None:
    assert schedule_of(text, [0, 0]).steps == 0


def test_the_longest_batch_that_one_client_can_have() -> None:
    assert Batching(8, least=2).longest(10) == 9
    assert Batching(8, least=2, rule=BatchRule("proportional")).longest(10) == 81
    assert Batching(8, rule=BatchRule("global", 160)).longest(10) == 160
