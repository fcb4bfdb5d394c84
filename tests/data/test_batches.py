"""Which samples a client uses in which step."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sglr.data.batches import Batching, order_of
from sglr.methods.psl import PSL


def taken(sizes: list[int], batch: int, rule: str = "wait", least: int = 1) -> list[list[tuple[int, int]]]:
    """Every client's (first, count) in every step."""
    schedule = Batching(batch, rule, least).schedule(np.array(sizes), seed=0, epoch=0)
    steps = [schedule.at(step) for step in range(schedule.steps)]
    return [[(int(first[i]), int(count[i])) for first, count in steps] for i in range(len(sizes))]


def test_by_hand() -> None:
    assert taken([5, 2], 2, "wait") == [[(0, 2), (2, 2), (4, 1)], [(0, 2), (2, 0), (4, 0)]]
    assert taken([5, 2, 3], 2, "cycle") == [
        [(0, 2), (2, 2), (4, 1)],
        [(0, 2), (0, 2), (0, 2)],
        [(0, 2), (2, 1), (0, 2)],
    ]


def test_a_single_sample_joins_the_batch_before_by_hand() -> None:
    assert taken([5, 2, 1], 2, least=2) == [[(0, 2), (2, 3)], [(0, 2), (2, 0)], [(0, 0), (2, 0)]]
    assert taken([5, 3, 1], 2, "cycle", least=2) == [[(0, 2), (2, 3)], [(0, 3), (0, 3)], [(0, 0), (0, 0)]]


SIZES = st.lists(st.integers(0, 30), min_size=1, max_size=5)


@given(sizes=SIZES, batch=st.integers(2, 9), rule=st.sampled_from(["wait", "cycle"]))
def test_no_batch_is_of_one_sample_where_two_are_needed(sizes: list[int], batch: int, rule: str) -> None:
    for size, own in zip(sizes, taken(sizes, batch, rule, least=2), strict=True):
        assert all(count == 0 or 2 <= count <= min(batch + 1, size) for _, count in own)
        rows = {row for first, count in own for row in range(first, first + count)}
        assert rows == (set(range(size)) if size > 1 else set())
        if rule == "wait":
            assert sum(count for _, count in own) == len(rows)
        # Only what is in the last two batches is cut otherwise.
        whole = [part for part in taken([size], batch)[0] if part[1] == batch]
        assert own[: max(0, len(whole) - 1)] == whole[:-1]


@given(sizes=SIZES, batch=st.integers(1, 9), rule=st.sampled_from(["wait", "cycle"]))
def test_a_client_cuts_its_data_alike_alone_and_among_others(sizes: list[int], batch: int, rule: str) -> None:
    least = min(2, batch)
    together = taken(sizes, batch, rule, least)
    for size, own in zip(sizes, together, strict=True):
        alone = taken([size], batch, rule, least)[0]
        assert own[: len(alone)] == alone


@given(sizes=st.lists(st.integers(1, 30), min_size=1, max_size=5), batch=st.integers(1, 9))
def test_who_waits_uses_every_sample_once_and_who_cycles_is_never_absent(sizes: list[int], batch: int) -> None:
    for size, own in zip(sizes, taken(sizes, batch, "wait"), strict=True):
        rows = [row for first, count in own for row in range(first, first + count)]
        assert rows == list(range(size))
    for size, own in zip(sizes, taken(sizes, batch, "cycle"), strict=True):
        assert all(count > 0 and first + count <= size for first, count in own)


def test_an_order_is_a_permutation_of_its_own() -> None:
    rows = np.arange(10, 30)
    first = order_of(rows, 0, 1, 2)
    assert sorted(first.tolist()) == rows.tolist()
    assert first.tolist() == order_of(rows, 0, 1, 2).tolist()
    assert first.tolist() != order_of(rows, 0, 2, 2).tolist()


def test_a_short_client_trains_on_in_every_step_if_it_cycles(case) -> None:
    trainer = case(PSL(), sizes=(9, 3), epochs=1, short_clients="cycle").run()
    assert trainer.progress.samples == 9 + 3 * 3
