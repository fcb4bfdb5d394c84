"""A client's tail between its two messages of a step: whatever happens meanwhile, the step is the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sglr.engines.remote.client.session import Session
from sglr.engines.remote.client.trainer import LocalTrainer
from sglr.splitting import ClientSegments

from .test_trainer import BATCH, make_segment, make_worker, same

FEATURES = torch.linspace(-1, 1, 2 * BATCH).reshape(BATCH, 2)


def trainer_with_a_tail(**options: Any) -> LocalTrainer:
    """Make a client whose tail drops out and normalises."""
    torch.default_generator.manual_seed(2)
    tail = nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.Dropout(), nn.Linear(8, 3))
    return make_worker(segment=ClientSegments(make_segment(), tail, (2,)), **options)


def answered(trainer: LocalTrainer, draws: int = 0) -> Tensor:
    """Take a step until its features are answered; others draw from the same generator before."""
    trainer.forward(0, 0)
    torch.rand(draws)
    return trainer.answer(FEATURES)[0]


def test_what_a_tail_draws_does_not_depend_on_the_other_clients_of_its_process() -> None:
    assert torch.equal(answered(trainer_with_a_tail()), answered(trainer_with_a_tail(), draws=5))


def test_who_leaves_between_features_and_gradient_comes_back_as_if_it_had_been_slow(tmp_path: Path) -> None:
    stayed, left, back = trainer_with_a_tail(), trainer_with_a_tail(), trainer_with_a_tail()
    for trainer in (stayed, left):
        answered(trainer)
    Session(id=7, done=2, answers={2: b"its answer"}).write(tmp_path / "left", left)
    session = Session.take_over(tmp_path / "left", back)
    assert session == Session(id=7, done=2, answers={2: b"its answer"})
    for trainer in (stayed, back):
        trainer.backward(torch.ones(BATCH, 3), 0.1)
    assert same(stayed.state(), back.state())
    assert not same(left.state(), back.state()), "the step has been taken"


def test_a_pass_that_is_dropped_takes_its_answer_along(tmp_path: Path) -> None:
    trainer, fresh = trainer_with_a_tail(), trainer_with_a_tail()
    answered(trainer)
    trainer.drop_passes()
    assert same(trainer.state(), fresh.state())
    Session(id=7).write(tmp_path / "left", trainer)
    assert Session.take_over(tmp_path / "left", fresh) is not None
    assert fresh.passes() == []
