"""Batches that a client cuts itself, and those that it is told: never which samples, and none twice in an epoch."""

from __future__ import annotations

import pytest
import torch

from sglr.core.random import generator
from sglr.data.batch_rule import BatchRule
from sglr.data.batches import Batching
from sglr.engines.remote.client.own_batches import OwnBatches, ToldBatch
from sglr.engines.remote.client.session import Session

from .test_trainer import CLIENT, SEED, gradient, make_worker, same

TOLD = Batching(4, rule=BatchRule("global", 12))


def told(step: int, first: int, samples: int, epoch: int = 0, attempt: int = 1) -> ToldBatch:
    return ToldBatch(attempt, epoch, step, first, samples)


def batches(batching: Batching = TOLD) -> OwnBatches:
    return OwnBatches(make_worker(batching=batching).job)


def test_by_the_rule_local_it_knows_all_of_its_batches() -> None:
    own = batches(Batching(4))
    assert [own.places(0, step).tolist() for step in range(4)] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10], []]
    assert [own.has(5, step) for step in range(4)] == [True, True, True, False]
    order = generator(SEED, "order", CLIENT, 5).permutation(11)
    assert own.rows(5, own.following(5, 0)).tolist() == order[4:8].tolist()
    with pytest.raises(ValueError, match="cut their batches themselves"):
        own.tell(told(0, 0, 4))


def test_what_it_is_told_is_a_part_of_an_order_of_its_own() -> None:
    own, order = batches(), generator(SEED, "order", CLIENT, 2).permutation(11)
    assert not own.has(2, 0)
    own.tell(told(3, 5, 2, epoch=2))
    assert own.has(2, 3)
    assert not own.has(2, 4)
    assert not own.has(1, 3)
    assert own.rows(2, own.places(2, 3)).tolist() == order[5:7].tolist()
    assert own.following(2, 3).tolist() == [7, 8]
    own.tell(told(4, 7, 4, epoch=2))
    assert own.following(2, 4).tolist() == []


@pytest.mark.parametrize("wrong", [told(0, 0, 12), told(0, 10, 2), told(0, 1 << 60, 1)])
def test_a_batch_beyond_the_data_is_refused(wrong: ToldBatch) -> None:
    with pytest.raises(ValueError, match="can't be"):
        batches().tell(wrong)


def test_a_batch_of_too_few_samples_is_refused() -> None:
    own = batches(Batching(4, least=2, rule=BatchRule("proportional")))
    with pytest.raises(ValueError, match="a batch of 1 samples"):
        own.tell(told(0, 0, 1))
    own.tell(told(0, 0, 2))


@pytest.mark.parametrize("wrong", [told(3, 2, 3), told(4, 4, 2), told(2, 5, 2), told(3, 6, 2)])
def test_no_sample_is_used_twice_in_an_epoch(wrong: ToldBatch) -> None:
    own = batches()
    own.tell(told(3, 2, 3))
    own.tell(told(3, 2, 3))  # asked again
    if wrong != told(3, 2, 3):
        with pytest.raises(ValueError, match="this epoch has used"):
            own.tell(wrong)
    own.tell(told(5, 9, 2))  # what came while it was absent is not used
    own.tell(told(0, 0, 2, epoch=1))
    own.tell(told(0, 0, 5, attempt=2))  # everyone goes back


def test_a_server_that_was_started_again_may_take_its_steps_again_in_an_attempt_of_the_same_number() -> None:
    own = batches()
    own.tell(told(3, 6, 3))
    own.forget()
    assert not own.has(0, 3)
    own.tell(told(2, 3, 3))
    own.tell(told(3, 6, 3))
    with pytest.raises(ValueError, match="this epoch has used"):
        own.tell(told(4, 8, 3))


def test_a_client_that_leaves_takes_its_batch_up_again(tmp_path) -> None:
    leaving, staying = make_worker(batching=TOLD), make_worker(batching=TOLD)
    for trainer in (leaving, staying):
        trainer.batches.tell(told(2, 3, 5))
        sent = trainer.forward(0, 2)
    Session(5, 1).write(tmp_path / "left", leaving)
    back = make_worker(batching=TOLD)
    assert Session.take_over(tmp_path / "left", back) is not None
    assert back.passes() == [(0, 2)]
    for trainer in (back, staying):
        trainer.backward(gradient(2, sent["values"].shape), 0.1)
    assert same(back.weights(), staying.weights())
    torch.testing.assert_close(back.batches.told, staying.batches.told)
