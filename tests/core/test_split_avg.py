"""SplitAvg, eq. 15-16: who is active, what is averaged over, and in which epochs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from sglr.core.random import generator
from sglr.core.split_avg import RULES, SplitAvg, in_phase, sample_active, split_avg
from sglr.core.types import StepContext, Uplink


def make_uplink(labels: list[list[int]]) -> Uplink:
    """Return the uplink of clients that have these labels."""
    sizes = tuple(len(row) for row in labels)
    padded = torch.tensor([row + [0] * (max(sizes) - len(row)) for row in labels])
    return Uplink(torch.zeros(*padded.shape, 2), padded, tuple(range(len(labels))), sizes)


def numbered(uplink: Uplink) -> Tensor:
    """Gradients [C, b, 2] of distinct numbers, zero in the padding."""
    values = torch.arange(uplink.labels.numel() * 2, dtype=torch.float32).reshape(*uplink.labels.shape, 2)
    return values * uplink.mask[..., None]


def test_position_averages_sample_j_with_sample_j() -> None:
    uplink = make_uplink([[0, 0], [0, 0], [0, 0]])
    gradients = torch.tensor([[[1.0, 2.0], [3.0, 4.0]], [[5.0, 6.0], [7.0, 8.0]], [[100.0, 100.0], [100.0, 100.0]]])
    found = split_avg(gradients, uplink, [0, 1], "position").gradients
    mean = [[3.0, 4.0], [5.0, 6.0]]  # (1 + 5) / 2, (2 + 6) / 2; (3 + 7) / 2, (4 + 8) / 2
    assert found.tolist() == [mean, mean, [[100.0, 100.0], [100.0, 100.0]]]


def test_position_in_unequal_batches_averages_over_those_that_have_a_sample_there() -> None:
    uplink = make_uplink([[0, 0, 0], [0], [0, 0]])
    gradients = torch.tensor([[[3.0], [4.0], [5.0]], [[6.0], [0.0], [0.0]], [[9.0], [8.0], [0.0]]])
    found = split_avg(gradients, uplink, [0, 1, 2], "position").gradients
    assert found.tolist() == [[[6.0], [6.0], [5.0]], [[6.0], [0.0], [0.0]], [[6.0], [6.0], [0.0]]]


def test_class_averages_within_a_class_over_clients_and_positions() -> None:
    uplink = make_uplink([[0, 1], [1, 1], [0, 2]])
    gradients = torch.tensor([[[1.0], [2.0]], [[4.0], [6.0]], [[3.0], [7.0]]])
    found = split_avg(gradients, uplink, [0, 1, 2], "class").gradients
    assert found.tolist() == [[[2.0], [4.0]], [[4.0], [4.0]], [[2.0], [7.0]]]


def test_class_in_unequal_batches_leaves_padding_out() -> None:
    """Padding carries label 0 and gradient 0: counted, it would halve the mean of class 0."""
    uplink = make_uplink([[0, 1, 0], [0]])
    gradients = torch.tensor([[[1.0], [5.0], [4.0]], [[7.0], [0.0], [0.0]]])
    found = split_avg(gradients, uplink, [0, 1], "class").gradients
    assert found.tolist() == [[[4.0], [5.0], [4.0]], [[4.0], [0.0], [0.0]]]


@st.composite
def steps(draw: st.DrawFn) -> tuple[Uplink, list[int]]:
    labels = draw(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=4), min_size=2, max_size=5))
    active = draw(st.lists(st.integers(0, len(labels) - 1), min_size=2, unique=True).map(sorted))
    return make_uplink(labels), active


@pytest.mark.parametrize("rule", sorted(RULES))
@given(steps())
def test_inactive_clients_keep_their_gradients_to_the_bit_and_padding_stays_zero(rule, step) -> None:
    uplink, active = step
    gradients = numbered(uplink)
    found = split_avg(gradients, uplink, active, rule).gradients
    for i in set(range(len(uplink.clients))) - set(active):
        assert torch.equal(found[i], gradients[i])
    assert not found[~uplink.mask].any()


@pytest.mark.parametrize("rule", sorted(RULES))
@given(steps())
def test_averaging_keeps_the_sum_and_averages_once(rule, step) -> None:
    """A mean redistributes: the active clients' total stays, and a second average changes nothing."""
    uplink, active = step
    gradients = numbered(uplink)
    found = split_avg(gradients, uplink, active, rule).gradients
    torch.testing.assert_close(found.sum((0, 1)), gradients.sum((0, 1)))
    torch.testing.assert_close(split_avg(found, uplink, active, rule).gradients, found)


@given(steps())
def test_active_clients_share_one_tensor_by_position(step) -> None:
    uplink, active = step
    found = split_avg(numbered(uplink), uplink, active, "position").gradients
    for position in range(uplink.labels.shape[1]):
        rows = [found[i, position] for i in active if position < uplink.sizes[i]]
        assert all(torch.equal(row, rows[0]) for row in rows)


@given(steps())
def test_samples_of_a_class_share_one_gradient_by_class(step) -> None:
    uplink, active = step
    found = split_avg(numbered(uplink), uplink, active, "class").gradients
    for label in range(3):
        rows = [found[i, j] for i in active for j in range(uplink.sizes[i]) if int(uplink.labels[i, j]) == label]
        assert all(torch.equal(row, rows[0]) for row in rows)


@given(steps())
def test_by_position_one_broadcast_is_as_long_as_the_longest_active_batch(step) -> None:
    """Every active client finds its gradients at its own positions."""
    uplink, active = step
    received, averaged, *_ = split_avg(numbered(uplink), uplink, active, "position")
    assert averaged is not None
    assert averaged.rows == tuple(active)
    assert len(averaged.gradients) == max(uplink.sizes[i] for i in active)
    for i in active:
        assert torch.equal(received[i, : uplink.sizes[i]], averaged.gradients[: uplink.sizes[i]])


@given(steps())
def test_by_class_one_broadcast_has_a_gradient_of_every_class_that_active_clients_hold(step) -> None:
    uplink, active = step
    received, averaged, *_ = split_avg(numbered(uplink), uplink, active, "class")
    assert averaged is not None
    held = sorted({int(uplink.labels[i, j]) for i in active for j in range(uplink.sizes[i])})
    assert averaged.rows == tuple(active)
    assert len(averaged.gradients) == len(held)
    for i in active:
        for j in range(uplink.sizes[i]):
            assert torch.equal(received[i, j], averaged.gradients[held.index(int(uplink.labels[i, j]))])


def test_the_gradients_that_came_in_are_left_alone() -> None:
    uplink = make_uplink([[0], [1]])
    gradients = numbered(uplink)
    before = gradients.clone()
    split_avg(gradients, uplink, [0, 1], "position")
    assert torch.equal(gradients, before)


@pytest.mark.parametrize(
    ("clients", "phi", "active"),
    [
        (20, 0.25, 5),
        (20, 0.5, 10),
        (20, 0.75, 15),
        (6, 0.25, 2),
        (10, 0.25, 3),
        (2, 0.25, 1),
        (1, 0.25, 0),
        (4, 1.0, 4),
    ],
)
def test_the_number_of_active_clients_is_phi_of_those_present(clients: int, phi: float, active: int) -> None:
    """To the nearest whole number, halves up."""
    assert len(sample_active(clients, phi, np.random.default_rng(0))) == active


@given(st.integers(1, 30), st.floats(0, 1), st.integers(0, 1000))
def test_active_clients_are_distinct_rows_in_order_and_follow_from_the_key(clients: int, phi: float, step: int) -> None:
    drawn = sample_active(clients, phi, generator(0, "step", step))
    assert drawn == sorted(set(drawn))
    assert all(0 <= row < clients for row in drawn)
    assert drawn == sample_active(clients, phi, generator(0, "step", step))


def test_every_client_is_active_equally_often() -> None:
    times = np.zeros(6)
    for step in range(3000):
        times[sample_active(6, 0.5, generator(0, "step", step))] += 1
    # 1500 of 3000 each, with a standard deviation of 27.
    assert (np.abs(times - 1500) < 135).all()


def test_active_clients_are_drawn_anew() -> None:
    rng = np.random.default_rng(0)
    assert len({tuple(sample_active(8, 0.5, rng)) for _ in range(10)}) > 5


@pytest.mark.parametrize(
    ("phase", "epochs", "inside"),
    [
        ("all", 5, [0, 1, 2, 3, 4]),
        ("first:0.6", 5, [0, 1, 2]),
        ("first:0.4", 5, [0, 1]),
        ("last:0.6", 5, [2, 3, 4]),
        ("last:0.4", 5, [3, 4]),
        ("first:0", 5, []),
        ("last:0", 5, []),
        ("last:1", 5, [0, 1, 2, 3, 4]),
        ("first:0.5", 3, [0, 1]),
    ],
)
def test_phases(phase: str, epochs: int, inside: list[int]) -> None:
    assert [epoch for epoch in range(epochs) if in_phase(phase, epoch, epochs)] == inside


@given(st.integers(0, 10), st.integers(1, 200))
def test_a_first_and_a_last_phase_that_add_up_to_all_meet(tenths: int, epochs: int) -> None:
    """Where the shares are whole epochs, each epoch is in exactly one of the two."""
    if (tenths * epochs) % 10:
        return
    for epoch in range(epochs):
        first = in_phase(f"first:{tenths / 10}", epoch, epochs)
        assert first != in_phase(f"last:{(10 - tenths) / 10}", epoch, epochs)


@pytest.mark.parametrize(
    ("phi", "phase", "epoch"), [(0.0, "all", 0), (1.0, "last:0.5", 0), (1.0, "first:0.5", 1), (0.25, "all", 0)]
)
def test_switched_off_it_returns_the_very_gradients(phi: float, phase: str, epoch: int) -> None:
    """φ = 0.25 of two clients is one: the mean of one is its own."""
    uplink = make_uplink([[0], [1]])
    gradients = numbered(uplink)
    context = StepContext(epoch, 2, 0, 1, np.random.default_rng(0))
    downlink = SplitAvg(phi, "position", phase)(gradients, uplink, context)
    assert downlink.gradients is gradients
    assert downlink.averaged is None
