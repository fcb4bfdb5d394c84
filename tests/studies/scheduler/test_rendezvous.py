"""Trainings that meet give the numbers that each gives alone, and none waits for one that is over."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.conftest import assert_close
from torch import Tensor, nn

from sglr.core.errors import DivergedError, Interrupted
from sglr.core.events import Event, StepDone
from sglr.core.registry import METHODS
from sglr.core.trainer import Hooks, Trainer
from sglr.stacking.passes import Job
from sglr.studies.scheduler import rendezvous as meeting_module
from sglr.studies.scheduler.rendezvous import Meeting


def run_together(trainers: Sequence[Trainer]) -> list[object]:
    """Train all at once; return what each raised, or None."""
    meeting: Meeting[None] = Meeting()
    for trainer in trainers:
        take_seats(meeting, trainer)
    return list(meeting.run())


def take_seats(meeting: Meeting[None], trainer: Trainer) -> None:
    member = meeting.join(trainer.run)
    whole = trainer.method.whole_model
    trainer.engine.block.stack.passes = member.seat(("lower", whole), 0)
    if trainer.server.stack.parameters:
        trainer.server.stack.passes = member.seat("upper", 1)
    if trainer.server.copies is not None:
        trainer.server.copies.passes = member.seat("upper", 1)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Collect how many trainings took part in each forward call."""
    seen: list[int] = []
    real = meeting_module.run_forward

    def counted(jobs: Sequence[Job]) -> object:
        seen.append(len(jobs))
        return real(jobs)

    monkeypatch.setattr(meeting_module, "run_forward", counted)
    return seen


# Law 2, for trials: with whom a training meets makes no difference, to rounding.

EQUAL, UNEQUAL = (8, 8, 8, 8), (11, 7, 3, 3)


@pytest.mark.parametrize("name", METHODS.names())
@pytest.mark.parametrize("norm", [False, True], ids=["plain", "batchnorm"])
@pytest.mark.parametrize("stacking", ["stacked", pytest.param("looped", marks=pytest.mark.slow)])
@pytest.mark.usefixtures("double")
def test_a_training_gives_the_same_numbers_beside_others(case, state_of, name: str, norm: bool, stacking: str) -> None:
    """Beside PSL, beside itself with other clients, data, rate and length, and beside clients that come and go."""
    method = METHODS.load(name)()
    common = {"batch": 4, "norm": norm, "optimizer": "sgd:momentum=0.9", "stacking": stacking}
    cases = [
        case(method, sizes=UNEQUAL, **common),
        case(METHODS.load("psl")(), sizes=EQUAL, **common, seed=1),
        case(method, sizes=EQUAL, rate=0.05, epochs=3, seed=2, **common),
        case(METHODS.load("sglr")(alpha=1.0, phi=0.5), sizes=UNEQUAL, participation=0.5, clip_norm=0.5, **common),
    ]
    together = [each.build() for each in cases]
    assert run_together(together) == [None] * len(cases)
    for each, found in zip(cases, together, strict=True):
        assert_close(state_of(found), state_of(each.run()), atol=1e-10, rtol=1e-10)


@settings(max_examples=8)
@given(
    trials=st.lists(
        st.tuples(
            st.sampled_from(["psl", "sglr", "sfl", "ssl", "sflv1", "sflv2"]),
            st.lists(st.sampled_from([2, 3, 5, 6, 8]), min_size=1, max_size=4),
            st.integers(1, 3),
        ),
        min_size=1,
        max_size=4,
    ),
    seed=st.integers(0, 2**31),
)
def test_any_trainings_can_meet(case, state_of, trials, seed: int) -> None:
    cases = [
        case(METHODS.load(name)(), sizes=sizes, epochs=epochs, seed=seed + place, validate=True)
        for place, (name, sizes, epochs) in enumerate(trials)
    ]
    together, again = ([each.build() for each in cases] for _ in range(2))
    assert run_together(together) == run_together(again) == [None] * len(cases)
    for each, first, second in zip(cases, together, again, strict=True):
        assert_close(state_of(first), state_of(each.run()), atol=1e-6)
        assert all(torch.equal(value, state_of(second)[key]) for key, value in state_of(first).items())


def test_equal_trainings_share_every_call(case, calls: list[int]) -> None:
    run_together([case(METHODS.load("sglr")(alpha=alpha), sizes=(6, 6), seed=7).build() for alpha in (0, 1, 2)])
    assert calls == [3] * (2 * 2 * 2)  # client and server, two steps in each of two epochs


def test_a_training_with_a_smaller_last_batch_falls_in_step_again(case, calls: list[int]) -> None:
    """The second step of an epoch has nothing in common; the first of the next epoch has everything again."""
    run_together([case(METHODS.load("psl")(), sizes=sizes).build() for sizes in ((6, 6), (6, 5))])
    assert calls == [2, 2, 1, 1, 1, 1, 1] * 2


# Who is over is waited for no longer.


def stop_after(trainer: Trainer, steps: int) -> Callable[[], bool]:
    return lambda: trainer.progress.steps >= steps


def test_stopped_diverged_and_failed_trainings_leave_and_the_others_go_on(case, state_of) -> None:
    def fail(event: Event) -> None:
        if isinstance(event, StepDone) and event.epoch == 1:
            raise ValueError("the observer's own")

    plain = case(METHODS.load("psl")(), epochs=4)
    diverging = replace(plain, rate=float("inf"), seed=1)
    failing, stopped = replace(plain, seed=2, hooks=Hooks(observe=fail)), replace(plain, seed=3)
    trainers = [each.build() for each in (diverging, plain, failing, stopped)]
    trainers[3].hooks = Hooks(stop=stop_after(trainers[3], 3))
    results = run_together(trainers)
    assert [type(result) for result in results] == [DivergedError, type(None), ValueError, Interrupted]
    assert trainers[3].progress.steps == 3
    assert_close(state_of(trainers[1]), state_of(plain.run()), atol=1e-6)


def test_resumed_from_a_meeting_alone_and_the_other_way_round(case, state_of) -> None:
    cases = [case(METHODS.load("sglr")(), sizes=(8, 5), epochs=3, optimizer="adam", seed=seed) for seed in range(3)]
    whole = [each.run() for each in cases]
    stopped = [each.build() for each in cases]
    for trainer, steps in zip(stopped, (2, 5, 4), strict=True):
        trainer.hooks = Hooks(stop=stop_after(trainer, steps))
    assert all(isinstance(result, Interrupted) for result in run_together(stopped[:2]))
    with pytest.raises(Interrupted):
        stopped[2].run()
    resumed = [each.build() for each in cases]
    for trainer, before in zip(resumed, stopped, strict=True):
        trainer.restore(state_of(before), replace(before.progress))
    assert run_together(resumed[1:]) == [None, None]
    resumed[0].run()
    for found, wanted in zip(resumed, whole, strict=True):
        assert_close(state_of(found), state_of(wanted), atol=1e-4)


class Brittle(nn.Module):
    """Breaks in the call of a number, counted over all copies."""

    def __init__(self, breaks_at: int, calls: list[int]) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)
        self.breaks_at, self.calls = breaks_at, calls

    def __deepcopy__(self, memo: dict[int, object]) -> Brittle:
        return Brittle(self.breaks_at, self.calls)

    def forward(self, x: Tensor) -> Tensor:
        self.calls.append(1)
        if len(self.calls) == self.breaks_at:
            raise RuntimeError("broken")
        return self.layer(x)


def test_an_error_in_a_common_call_reaches_all_that_take_part(case) -> None:
    calls: list[int] = []
    brittle = case(METHODS.load("psl")(), lower=lambda _: Brittle(3, calls))
    other = case(METHODS.load("psl")(), batch=2)  # another batch size: calls of its own
    results = run_together([brittle.build(), replace(brittle, seed=1).build(), other.build()])
    assert [str(result) for result in results] == ["broken", "broken", "None"]


def test_when_the_meeting_is_broken_off_no_thread_stays(case, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    real = meeting_module.run_forward

    def broken_off(jobs: Sequence[Job]) -> object:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(jobs)

    monkeypatch.setattr(meeting_module, "run_forward", broken_off)
    meeting: Meeting[None] = Meeting()
    for seed in range(3):
        take_seats(meeting, case(METHODS.load("psl")(), seed=seed).build())
    with pytest.raises(KeyboardInterrupt):
        meeting.run()
    assert not any(member.is_running for member in meeting.members)


def test_a_training_without_seats_runs_from_start_to_end_in_its_turn(case, state_of) -> None:
    """So layers that draw random numbers draw their own."""
    noisy = case(METHODS.load("psl")(), dropout=0.5)
    alone, beside = noisy.build(), noisy.build()
    meeting: Meeting[None] = Meeting()
    take_seats(meeting, case(METHODS.load("psl")(), seed=1).build())
    meeting.join(beside.run)
    take_seats(meeting, case(METHODS.load("psl")(), seed=2).build())
    assert meeting.run() == [None] * 3
    alone.run()
    assert all(torch.equal(value, state_of(beside)[key]) for key, value in state_of(alone).items())
