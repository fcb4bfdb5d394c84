"""The setting ``batching`` against other settings: what contradicts itself is refused before any work is done."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from sglr.assembly.build import build
from sglr.assembly.parts import PartOverrides, Training
from sglr.core.errors import UsageError
from sglr.data.batch_rule import BatchRule
from sglr.data.batches import Batching
from sglr.runs.config import Experiment

SMALL: dict[str, Any] = {"clients": 4, "samples_per_client": 20, "model": "mlp", "dataset": "digits", "device": "cpu"}


def normalised(input_shape: tuple[int, ...], classes: int) -> nn.Module:
    width = torch.Size(input_shape).numel()
    return nn.Sequential(nn.Flatten(), nn.Linear(width, 8), nn.BatchNorm1d(8), nn.Linear(8, classes))


NORM: dict[str, Any] = {"model": normalised, "cut": 2}
"""A network that can't train on one sample."""


def built(settings: dict[str, Any]) -> Training:
    given = {**SMALL, **settings}
    model = given["model"] if callable(given["model"]) else None
    named = given | {"model": "<normalised>"} if model else given
    return build(Experiment.from_flat(named), PartOverrides(model=model))


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"batching": "global:0"}, r"batching = global:0: .*greater than or equal to 1"),
        ({"batching": "global", "method": "fl"}, r"batching = global: clients of method fl take no steps together"),
        ({"batching": "proportional", "method": "cl"}, r"batching = .*; leave it out, or choose a method that splits"),
        ({"batching": "global", "short_clients": "cycle"}, r"short_clients = cycle: batching global uses no sample"),
        ({"batching": "global", "accumulate": 2}, r"accumulate = 2: .* unequal; give a larger B"),
        ({"batching": "clock", "accumulate": 2}, r"accumulate = 2: .* in none; give a larger --batch-size"),
        ({"batching": "clock", "method": "fl"}, r"batching = clock: clients of method fl take no steps together"),
        ({"batching": "global", "compile": True}, r"compile = True: .* each size would be compiled anew"),
        ({"batching": "proportional", "pipelining": True, "engine": "remote"}, r"pipelining = 1: .* tells each"),
        (
            {"batching": "global", **NORM},
            r"batching = global: .* statistics\); give --batching proportional,",
        ),
        (
            {"batching": "proportional:7", **NORM},
            r"batching = proportional:7: 4 clients .* 2 .*give proportional:8",
        ),
    ],
)
def test_contradictions_are_refused(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        built(settings)


@pytest.mark.parametrize(
    "settings",
    [
        {"batching": "proportional:8", **NORM},
        {"batching": "proportional", **NORM},
        {"batching": "proportional:4", **NORM, "participation": 0.5},
        {"batching": "proportional:2", **NORM, "method": "ssl"},
        {"batching": "global:1"},
    ],
)
def test_what_can_be_is_built(settings: dict[str, Any]) -> None:
    assert built(settings).trainer.plan.batches.unequal


def test_the_clock_gives_equal_batches_of_two_samples_at_least() -> None:
    batches = built({"batching": "clock", **NORM}).trainer.plan.batches
    assert not batches.unequal
    assert batches == Batching(8, least=2, rule=BatchRule("clock"))


def test_the_default_is_no_rule_that_clients_are_told_of() -> None:
    assert not built({}).trainer.plan.batches.unequal
    old = {name: value for name, value in Experiment.from_flat(SMALL).flat().items() if name != "batching"}
    assert Experiment.from_flat(old).fingerprint() == Experiment.from_flat(SMALL).fingerprint()
    told = Experiment.from_flat({**SMALL, "batching": "global"})
    assert told.fingerprint() != Experiment.from_flat(SMALL).fingerprint()
