"""Weights that are sent as differences from shared ones: by hand, over time, and asked for twice."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sglr.compression.codecs import Int4, Int8, TopK
from sglr.compression.weight_deltas import DeltaChannels, DeltaCode, SentWeights, layout_of

CODE = DeltaCode(TopK(share=0.5), frozenset({"w"}))
SHARED = {"w": torch.tensor([1.0, 1.0, 1.0, 1.0]), "mean": torch.tensor([5.0])}


def test_what_is_lost_is_added_the_next_time_by_hand() -> None:
    first = {"w": torch.tensor([1.5, 1.1, 0.8, 3.0]), "mean": torch.tensor([6.0])}
    parts, lost = CODE.encode(first, SHARED, {})
    # Differences 0.5, 0.1, -0.2, 2: the first and the last are sent.
    arrived = CODE.decode(parts, layout_of(first), SHARED)
    torch.testing.assert_close(arrived["w"], torch.tensor([1.5, 1.0, 1.0, 3.0]))
    assert arrived["mean"].item() == 6.0
    torch.testing.assert_close(lost["w"], torch.tensor([0.0, 0.1, -0.2, 0.0]))
    # The next time all differences are 0.15: with what was lost 0.15, 0.25, -0.05, 0.15.
    second = {"w": SHARED["w"] + 0.15, "mean": torch.tensor([7.0])}
    arrived = CODE.decode(CODE.encode(second, SHARED, lost)[0], layout_of(second), SHARED)
    torch.testing.assert_close(arrived["w"], torch.tensor([1.15, 1.25, 1.0, 1.0]))


@given(seed=st.integers(0, 2**31), merges=st.integers(1, 5))
@pytest.mark.parametrize("codec", [Int8(), Int4(), TopK(share=0.2)], ids=repr)
def test_the_sum_of_what_arrives_is_that_of_what_was_meant_but_for_the_last_loss(codec, seed, merges) -> None:
    code, rng = DeltaCode(codec, {"w"}), torch.Generator().manual_seed(seed)
    shared, lost = {"w": torch.zeros(7, 11)}, {}
    meant = arrived = torch.zeros(7, 11)
    for _ in range(merges):
        own = {"w": torch.randn(7, 11, generator=rng)}
        parts, lost = code.encode(own, shared, lost)
        meant, arrived = meant + own["w"], arrived + code.decode(parts, layout_of(own), shared)["w"]
        assert {name: (part.dtype, tuple(part.shape)) for name, part in parts.items()} == code.layout(layout_of(own))
        assert code.bytes(own) == sum(part.numel() * part.element_size() for part in parts.values())
    torch.testing.assert_close(arrived + lost["w"], meant, rtol=1e-4, atol=1e-4)


def test_a_client_that_is_asked_again_sends_the_same_and_remembers_once() -> None:
    own = {"w": torch.tensor([1.5, 1.1, 0.8, 3.0]), "mean": torch.tensor([6.0])}
    once, twice = SentWeights(CODE), SentWeights(CODE)
    for sender in (once, twice):
        with pytest.raises(ValueError, match="no weights were shared"):
            sender.parts(own, 0)
        sender.took_up(SHARED)
        sender.parts(own, 3)
    first, again = twice.parts(own, 3), twice.parts(own, 3)
    assert all(torch.equal(first[name], again[name]) for name in first)
    restored = SentWeights(CODE)
    restored.restore(once.state())
    for name, tensor in once.parts(own, 6).items():
        assert torch.equal(tensor, twice.parts(own, 6)[name])
        assert torch.equal(tensor, restored.parts(own, 6)[name])


def test_without_a_code_weights_are_sent_as_they_are() -> None:
    channels, weights = DeltaChannels(None), {"w": torch.randn(2, 4)}
    channels.published(SHARED)
    assert channels.received((0, 1), weights)["w"] is weights["w"]
    assert channels.state() == {}
