"""Which samples a client uses in which step."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sglr.core.batches import batches_at, order_of, steps_of
from sglr.methods.psl import PSL


def taken(sizes: list[int], batch: int, rule: str) -> list[list[tuple[int, int]]]:
    """Every client's (first, count) in every step."""
    array = np.array(sizes)
    steps = [batches_at(step, array, batch, rule) for step in range(steps_of(array, batch))]
    return [[(int(first[i]), int(count[i])) for first, count in steps] for i in range(len(sizes))]


def test_by_hand() -> None:
    assert taken([5, 2], 2, "wait") == [[(0, 2), (2, 2), (4, 1)], [(0, 2), (2, 0), (4, 0)]]
    assert taken([5, 2, 3], 2, "cycle") == [
        [(0, 2), (2, 2), (4, 1)],
        [(0, 2), (0, 2), (0, 2)],
        [(0, 2), (2, 1), (0, 2)],
    ]


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
