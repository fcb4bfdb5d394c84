"""Optimizers are read from a text like ``sgd:momentum=0.9`` and checked before any work is done; schedules."""

from __future__ import annotations

import json
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from sglr.core.errors import UsageError
from sglr.core.optim import (
    SCHEDULES,
    OptimizerSpec,
    Plateau,
    give_gradients,
    parse_schedule,
    scheduled_rate,
    set_rate,
)


@pytest.mark.parametrize(
    ("text", "name", "options"),
    [
        ("adam", "adam", {}),
        ("Adam", "adam", {}),
        ("adam:", "adam", {}),
        ("sgd:momentum=0.9", "sgd", {"momentum": 0.9}),
        ("SGD:momentum=0.9,nesterov=True", "sgd", {"momentum": 0.9, "nesterov": True}),
        ("sgd: momentum = 0.9 , weight_decay = 5e-4", "sgd", {"momentum": 0.9, "weight_decay": 5e-4}),
        ("adam:betas=(0.5,0.99),eps=1e-6", "adam", {"betas": (0.5, 0.99), "eps": 1e-6}),
        ("rmsprop:alpha=0.9,centered=True", "rmsprop", {"alpha": 0.9, "centered": True}),
    ],
)
def test_reads_any_optimizer_of_torch(text: str, name: str, options: dict[str, object]) -> None:
    spec = OptimizerSpec.parse(text)
    assert (spec.name, dict(spec.options)) == (name, options)
    assert OptimizerSpec.parse(str(spec)) == spec


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("adan", r"optimizer = adan: no such optimizer; did you mean 'adam'\? known: adadelta, "),
        ("", r"optimizer = : no such optimizer; known: "),
        ("lbfgs", r"optimizer = lbfgs: no such optimizer; "),  # needs a closure
        ("optimizer", r"no such optimizer"),  # the base class
        ("sgd:momentm=0.9", r"unknown option 'momentm' for sgd; did you mean 'momentum'\? options: "),
        ("adam:lr=0.1", r"unknown option 'lr' for adam; "),  # the rate is a setting of its own
        ("adam:params=1", r"unknown option 'params' for adam; "),
        ("sgd:momentum=-1", r"Invalid momentum value: -1; correct that option"),
        ("sgd:nesterov=True", r"Nesterov momentum requires a momentum"),
        ("sgd:momentum='x'", r"correct that option"),
        ("adam:betas=0.9", r"correct that option"),
        ("adam:fused=True,foreach=True", r"correct that option"),
    ],
)
def test_refuses_what_torch_does_not_have(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        OptimizerSpec.parse(text)


@pytest.mark.parametrize(
    "tail",
    [
        "momentum",
        "0.9",
        "momentum=",
        "momentum=0.9;nesterov=True",
        "momentum=0.9,momentum=0.8",
        "momentum=(0.9",
        "momentum=open('f')",
        "momentum=x",
        "**{'momentum': 0.9}",
        "momentum=0.9)+dict(momentum=1",
        "momentum=0.9)(momentum=1",
        "momentum=0.9 nesterov=True",
    ],
)
def test_refuses_what_it_cannot_read(tail: str) -> None:
    with pytest.raises(UsageError, match=r"is not key=value|invalid value|given twice"):
        OptimizerSpec.parse(f"sgd:{tail}")


@given(st.text(max_size=30))
def test_any_text_is_read_or_refused_in_plain_words(text: str) -> None:
    for whole in (text, f"sgd:{text}"):
        try:
            OptimizerSpec.parse(whole)
        except UsageError as error:
            assert error.field == "optimizer"


def test_builds_the_optimizer_with_its_options_at_the_rate() -> None:
    parameter = nn.Parameter(torch.ones(2))
    optimizer = OptimizerSpec.parse("sgd:momentum=0.5").build([parameter], 0.25)
    give_gradients([parameter], [torch.ones(2)])
    optimizer.step()  # 1 − 0.25 · 1
    set_rate(optimizer, 0.5)
    give_gradients([parameter], [torch.ones(2)])
    optimizer.step()  # velocity 0.5 + 1
    assert parameter.tolist() == [0.75 - 0.5 * 1.5] * 2


def test_the_users_choice_of_kernel_stands() -> None:
    assert OptimizerSpec.parse("adam").build([nn.Parameter(torch.ones(1))], 0.1).defaults["fused"]
    assert not OptimizerSpec.parse("adam:foreach=True").build([nn.Parameter(torch.ones(1))], 0.1).defaults["fused"]


def test_step_divides_by_ten_at_80_percent_of_the_epochs() -> None:
    rates = [scheduled_rate("step", 0.5, epoch, 10) for epoch in range(10)]
    assert rates == pytest.approx([0.5] * 8 + [0.05] * 2)


def test_constant_and_cosine() -> None:
    assert [scheduled_rate("constant", 0.5, epoch, 4) for epoch in range(4)] == [0.5] * 4
    rates = [scheduled_rate("cosine", 0.5, epoch, 4) for epoch in range(4)]
    half = math.sqrt(0.5)
    assert rates == pytest.approx([0.5, 0.25 * (1 + half), 0.25, 0.25 * (1 - half)])


@pytest.mark.parametrize("schedule", sorted(SCHEDULES))
@given(epochs=st.integers(1, 300))
def test_every_schedule_starts_at_the_rate_and_stays_positive(schedule: str, epochs: int) -> None:
    rates = [scheduled_rate(schedule, 0.5, epoch, epochs) for epoch in range(epochs)]
    assert rates[0] == 0.5
    assert all(0 < rate <= 0.5 for rate in rates)


# The schedule that follows the validation score.

PLATEAUS = [
    "plateau",
    "plateau:factor=0.5,patience=1",
    "plateau:patience=0,threshold=0.1,threshold_mode=abs,cooldown=2,min_lr=0.01",
]


@pytest.mark.parametrize("text", PLATEAUS)
@pytest.mark.parametrize("higher", [True, False])
@given(scores=st.lists(st.floats(-1, 1, width=16), max_size=30))
def test_plateau_is_torchs_bit_for_bit(text: str, higher: bool, scores: list[float]) -> None:
    plateau = parse_schedule(text)[1]
    groups = [{"params": [nn.Parameter(torch.zeros(1))], "lr": rate} for rate in (0.3, 0.05)]
    optimizer = torch.optim.Adam(groups)
    torchs = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, "max" if higher else "min", **vars(plateau))
    state = None
    for score in scores:
        torchs.step(score)
        state = json.loads(json.dumps(plateau.after(state, (0.3, 0.05), score, higher_is_better=higher)))
        assert state["rates"] == [group["lr"] for group in optimizer.param_groups]


def test_schedules_are_read_with_their_parameters() -> None:
    assert parse_schedule("cosine") == ("cosine", None)
    assert parse_schedule("plateau:factor=0.5, patience=3") == ("plateau", Plateau(0.5, 3))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("linear", r"schedule = linear: no such schedule; .*known: constant, cosine, plateau, step"),
        ("cosine:factor=0.5", r"cosine has no options; write cosine alone"),
        ("plateau:factor=2", r"invalid value '2' for factor: input should be less than 1; give factor=<number>"),
        ("plateau:patience=-1", r"invalid value '-1' for patience: input should be greater than or equal to 0"),
        ("plateau:patience=1.5", r"invalid value '1.5' for patience"),
        ("plateau:mode=min", r"unknown option 'mode' for plateau"),
    ],
)
def test_schedules_that_can_t_be_read_are_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_schedule(text)
