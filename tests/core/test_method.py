"""Data shares and the weighted mean of weights, eq. 8 and 10; what a method does unless it says otherwise."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, dataclass

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sglr.core.method import Method
from sglr.core.server_protocol import Server
from sglr.core.types import Downlink, StepContext, Uplink
from sglr.core.weights import data_shares, weighted_mean


@dataclass(frozen=True)
class Plain(Method):
    strength: float = 1.0

    def exchange(self, server: Server, uplink: Uplink, context: StepContext) -> Downlink:
        return Downlink(server.learn(uplink, context, context.server_rate))


def test_shares_by_hand() -> None:
    assert data_shares([100, 300, 600]).tolist() == pytest.approx([0.1, 0.3, 0.6])


@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=50))
def test_shares_sum_to_one_over_those_present(sizes: list[int]) -> None:
    assert float(data_shares(sizes).sum()) == pytest.approx(1.0, abs=1e-12)


def test_mean_of_weights_by_hand() -> None:
    weights = {"w": torch.tensor([[1.0, 2.0], [5.0, 10.0]]), "b": torch.tensor([4.0, 8.0])}
    mean = weighted_mean(weights, torch.tensor([0.75, 0.25]))
    assert mean["w"].tolist() == [2.0, 4.0]  # 0.75 · 1 + 0.25 · 5, 0.75 · 2 + 0.25 · 10
    assert mean["b"].tolist() == 5.0


def test_counts_of_batches_take_the_rounded_mean_and_stay_whole() -> None:
    mean = weighted_mean({"num_batches_tracked": torch.tensor([10, 13])}, torch.tensor([0.5, 0.5]).double())
    assert mean["num_batches_tracked"].dtype == torch.int64
    assert mean["num_batches_tracked"].tolist() == 12  # 11.5, to even


@given(st.integers(0, 2**31), st.lists(st.integers(1, 9), min_size=1, max_size=6))
def test_mean_of_equal_weights_is_that_weight(seed: int, sizes: list[int]) -> None:
    weight = torch.from_numpy(np.random.default_rng(seed).normal(size=(3, 2))).float()
    mean = weighted_mean({"w": weight.expand(len(sizes), 3, 2)}, data_shares(sizes))
    torch.testing.assert_close(mean["w"], weight)
    assert mean["w"].dtype == torch.float32


def test_unless_it_says_otherwise_a_method_steps_together_and_keeps_client_weights() -> None:
    method = Plain()
    rng = np.random.default_rng(0)
    assert method.cohorts((0, 2, 5), rng) == [(0, 2, 5)]
    assert not method.merges(StepContext(0, 1, 0, 1, rng))
    assert [method.round_of(epoch) for epoch in range(3)] == [0, 1, 2]
    assert all(method.begins_round(epoch) for epoch in range(3))
    assert not (method.whole_model or method.pooled or method.shares or method.server_copies)


def test_methods_are_frozen_and_compare_by_their_hyper_parameters() -> None:
    assert Plain(2.0) == Plain(2.0) != Plain(3.0)
    with pytest.raises(FrozenInstanceError):
        Plain().strength = 2.0


def test_a_method_must_say_what_is_exchanged() -> None:
    class Silent(Method):
        pass

    with pytest.raises(TypeError, match="exchange"):
        Silent()
