"""Very many rows run and step in groups, with the numbers of one call for all."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from sglr.assembly.build import build
from sglr.core.optim import OptimizerSpec
from sglr.runs.config import Experiment
from sglr.stacking import row_optimizer, stack
from sglr.stacking.passes import GroupedGraph
from sglr.stacking.stack import Stack

ROWS, BATCH = 7, 4


def segment(row: int) -> nn.Module:
    torch.manual_seed(row)
    return nn.Sequential(nn.Conv2d(1, 3, 3, bias=False), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 5))


def trained(optimizer: str, clip_norm: float | None, rate: Any = 0.1, *, grouped: bool) -> dict[str, torch.Tensor]:
    """Take three steps, one of them by some rows alone."""
    made = Stack(
        segment,
        ROWS,
        OptimizerSpec.parse(optimizer),
        clip_norm=clip_norm,
        stacked=True,
        device=torch.device("cpu"),
    )
    torch.manual_seed(9)
    for rows in (tuple(range(ROWS)), tuple(range(ROWS)), (1, 2, 5), tuple(range(ROWS))):
        forward = made.forward(rows, torch.randn(len(rows), BATCH, 1, 6, 6))
        towards = torch.randn(forward.outputs.shape)
        assert isinstance(forward.graph, GroupedGraph) == (grouped and len(rows) == ROWS)
        if made.steps_in_groups(forward):
            made.update_in_groups(forward, towards, rate)
        else:
            made.update(rows, made.backward(forward, towards).weights, rate)
    return made.state()


@pytest.mark.parametrize("clip_norm", [None, 0.5])
@pytest.mark.parametrize("optimizer", ["adam", "sgd:momentum=0.9", "adamw:weight_decay=0.1"])
def test_groups_take_the_steps_of_all_at_once(monkeypatch, optimizer, clip_norm):
    row_bytes = sum(parameter.nbytes for parameter in segment(0).parameters())
    monkeypatch.setattr(row_optimizer, "UPDATE_BYTES", 3 * row_bytes)  # groups of 3, 3 and 1
    whole = trained(optimizer, clip_norm, grouped=False)
    monkeypatch.setattr(stack, "WHOLE_BYTES", 0)
    groups = trained(optimizer, clip_norm, grouped=True)
    assert groups.keys() == whole.keys()
    for name, tensor in whole.items():
        torch.testing.assert_close(groups[name], tensor, msg=name)


def test_parts_of_the_weights_may_have_rates_of_their_own(monkeypatch):
    row_bytes = sum(parameter.nbytes for parameter in segment(0).parameters())
    monkeypatch.setattr(row_optimizer, "UPDATE_BYTES", 2 * row_bytes)
    rates = [((0, 1), 0.1), ((3, 4), 0.01)]
    whole = trained("sgd", None, rates, grouped=False)
    monkeypatch.setattr(stack, "WHOLE_BYTES", 0)
    groups = trained("sgd", None, rates, grouped=True)
    for name, tensor in whole.items():
        torch.testing.assert_close(groups[name], tensor, msg=name)


def test_gradients_of_groups_are_those_of_all(monkeypatch):
    monkeypatch.setattr(row_optimizer, "UPDATE_BYTES", 1)
    made = Stack(segment, 3, OptimizerSpec(), clip_norm=None, stacked=True, device=torch.device("cpu"))
    inputs, towards = torch.randn(3, BATCH, 1, 6, 6), torch.randn(3, BATCH, 5)
    whole = made.backward(made.forward((0, 1, 2), inputs), towards)
    monkeypatch.setattr(stack, "WHOLE_BYTES", 0)
    forward = made.forward((0, 1, 2), inputs)
    assert isinstance(forward.graph, GroupedGraph)
    groups = made.backward(forward, towards)
    for one, other in zip(whole.weights, groups.weights, strict=True):
        torch.testing.assert_close(other, one)
    assert groups.inputs is None


@pytest.mark.parametrize(
    "settings",
    [
        {"method": "sglr", "model": "cnn", "clip_norm": 0.5},
        {"method": "sfl", "accumulate": 2},
        {"method": "psl", "pipelining": 1, "delay_compensation": 0.5},
        {"method": "splitgp"},
        {"method": "sglr", "tail": "relu2"},
        {"method": "psl", "participation": 0.6},
    ],
    ids=str,
)
def test_a_training_in_groups_ends_with_the_same_weights(monkeypatch, settings):
    def weights() -> dict[str, torch.Tensor]:
        own = {"clients": 5, "samples_per_client": 24, "epochs": 2, "model": "mlp", "validation": 20, "device": "cpu"}
        given = Experiment.from_flat({**own, "stacking": "stacked", "optimizer": "sgd", **settings})
        training = build(given)
        training.trainer.run()
        return training.trainer.engine.collect(tuple(range(5)))

    whole = weights()
    monkeypatch.setattr(row_optimizer, "UPDATE_BYTES", 1)
    monkeypatch.setattr(stack, "WHOLE_BYTES", 0)
    for name, tensor in weights().items():
        torch.testing.assert_close(tensor, whole[name], msg=name)
