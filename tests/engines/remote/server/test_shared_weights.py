"""Clients' weights may be as far from the shared ones as honest training takes them, and no farther."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from sglr.assembly.build import build
from sglr.core.errors import ExtremeValues
from sglr.core.merging.weight_sharing import WeightSharing
from sglr.core.trainer import Trainer
from sglr.engines.remote.server.shared_weights import FACTOR, SharedWeights
from sglr.runs.config import Experiment


def shared(**trained: Tensor) -> SharedWeights:
    found = SharedWeights(list(trained))
    found.publish({**trained, "running_var": torch.ones(3)})
    return found


@given(travel=st.floats(0, 10), scale=st.floats(0.01, 100))
def test_the_bound_is_as_it_is_written(travel: float, scale: float) -> None:
    one, two = torch.full((3, 4), scale), torch.zeros(5)
    found = shared(one=one, two=two)
    found.step(travel)
    most = FACTOR * (scale * math.sqrt(12) + travel * math.sqrt(17))
    direction = torch.randn(17, dtype=torch.float64)
    direction /= direction.norm()
    for far, refused in ((0.999 * most, False), (1.001 * most, True)):
        moved = direction * far
        weights = {"one": one + moved[:12].reshape(3, 4), "two": two + moved[12:], "running_var": torch.ones(3)}
        if refused:
            with pytest.raises(ExtremeValues, match="too far from the shared ones"):
                found.check(0, weights)
        else:
            found.check(0, weights)


def test_buffers_follow_the_data_and_not_the_rate() -> None:
    shared(one=torch.ones(2)).check(0, {"one": torch.ones(2), "running_var": torch.full((3,), 9e3)})


def test_before_anything_was_published_nothing_is_too_far() -> None:
    SharedWeights(["one"]).check(0, {"one": torch.full((2,), 9e3)})


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e30])
def test_an_average_that_clients_would_refuse_is_not_published_and_its_outlier_is_named(
    value: float, caplog: pytest.LogCaptureFixture
) -> None:
    found = shared(one=torch.ones(2))
    for client, far in ((0, 1.0), (7, 3.0), (2, 2.0)):
        found.check(client, {"one": torch.full((2,), 1 + far), "running_var": torch.ones(3)})
    with pytest.raises(ExtremeValues, match=r"'one' are not finite or too large; client 7's are the farthest .*4\.24"):
        found.publish({"one": torch.tensor([1.0, value]), "running_var": torch.ones(3)})
    assert torch.equal(found.published["one"], torch.ones(2))
    assert "client 7's weights are the farthest" in caplog.text


def test_a_checkpoint_keeps_the_way_gone_since() -> None:
    found, again = shared(one=torch.ones(2)), SharedWeights(["one"])
    found.step(0.75)
    again.restore(found.state())
    assert again.travel == 0.75
    assert torch.equal(again.published["one"], torch.ones(2))
    # One of before says nothing of it: nothing is too far then.
    again.restore({"published.one": torch.ones(2)})
    again.check(0, {"one": torch.full((2,), 9e3)})


HIGH_RATES = [
    ("adam", 0.1),
    ("sgd", 1.0),
    ("sgd:momentum=0.9", 0.1),
    ("rmsprop", 0.1),
    ("adagrad", 0.1),
    ("rprop", 0.01),
]


@pytest.mark.parametrize("method", ["fl", "ssl", "sfl", "sflv1", "sflv2"])
@pytest.mark.parametrize(
    ("optimizer", "rate"), [HIGH_RATES[0], *(pytest.param(*one, marks=pytest.mark.slow) for one in HIGH_RATES[1:])]
)
def test_honest_runs_at_high_rates_stay_far_below_the_bound(
    method: str, optimizer: str, rate: float, monkeypatch: Any
) -> None:
    told = {"method": method, "lr": rate, "optimizer": optimizer, "model": "mlp", "clients": 3, "epochs": 2}
    flat = {**told, "samples_per_client": 40, "test_samples": 40, "device": "cpu"}
    trainer = build(Experiment.from_flat(flat)).trainer
    weights = SharedWeights([name for name, tensor in trainer.engine.segment.items() if tensor.is_floating_point()])
    reached: list[float] = []
    merge, step = WeightSharing.merge, Trainer._step

    def look_and_merge(sharing: WeightSharing, cohort: tuple[int, ...], moment: Any, observe: Any) -> None:
        weights.begin_gathering()
        present, found = sharing.engine.collect_present(cohort)
        for row, client in enumerate(present):
            weights.check(client, {name: tensor[row] for name, tensor in found.items()})
        reached.extend(far / weights.most for far in weights.distances.values())
        merge(sharing, cohort, moment, observe)

    def step_and_note(trainer: Trainer, cohort: tuple[int, ...], moment: Any, rate: float) -> int:
        if moment.step == 0:
            weights.publish(trainer.shared)
        weights.step(rate)
        return step(trainer, cohort, moment, rate)

    monkeypatch.setattr(WeightSharing, "merge", look_and_merge)
    monkeypatch.setattr(Trainer, "_step", step_and_note)
    trainer.run()
    assert len(reached) == 2 * 3
    assert max(reached) < 0.25
