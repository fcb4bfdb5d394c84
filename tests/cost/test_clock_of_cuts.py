"""The model of time where clients are cut at several places, by hand: each has its own cut's operations and bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import sglr
from sglr.assembly.build import build
from sglr.assembly.parts import PartOverrides, Training
from sglr.core.data import Dataset, Samples
from sglr.core.errors import Interrupted
from sglr.core.events import StepDone, Traffic
from sglr.cost.exchanged import joined, samples_of
from sglr.runs.config import Experiment

CLOCK = "0=100FLOPS/80bps+2s,1=200FLOPS/160bps,server=50FLOPS"
"""One client computes 100 operations and sends 10 bytes a second, a second away; one 200 and 20, nowhere away."""

SAMPLES = 2
FORWARD, BACKWARD = (48, 108), (48, 168)
"""Operations of a sample behind the first layer (4 to 6) and the second (6 to 5); inputs need no gradient."""

SERVER = (90 + 180, 30 + 60)
UP, LABEL, WEIGHTS = (24, 20), 8, (30 * 4, 65 * 4)


def built(method: str, **settings: Any) -> Training:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 5), nn.Linear(5, 3))
    inputs, labels = torch.randn(2 * SAMPLES, 4), torch.arange(2 * SAMPLES) % 3
    dataset = Dataset("numbers", Samples(inputs, labels), Samples(inputs, labels), ("a", "b", "c"))
    usual = {"clients": 2, "cuts": "0=1,1=2", "clock": CLOCK, "batch_size": SAMPLES, "epochs": 1, "validation": 0}
    usual |= {"optimizer": "sgd", "stacking": "looped"}
    experiment = Experiment.from_flat({"method": method, **usual, **settings})
    return build(experiment, PartOverrides(model=model, dataset=dataset))


def timed(training: Training) -> dict[str, Any]:
    clock, hooks = training.clock, training.trainer.hooks
    assert clock is not None
    hooks.observe = clock
    training.trainer.run(hooks)
    return clock.summary()


def arrivals() -> list[float]:
    """When each client's smashed data and labels are at the server, in the first step."""
    one = SAMPLES * FORWARD[0] / 100 + 1 + SAMPLES * (UP[0] + LABEL) / 10
    return [one, SAMPLES * FORWARD[1] / 200 + SAMPLES * (UP[1] + LABEL) / 20]


def test_a_step_by_hand() -> None:
    arrives = arrivals()
    over = max(arrives) + SAMPLES * sum(SERVER) / 50
    back = [1 + SAMPLES * UP[0] / 10, SAMPLES * UP[1] / 20]
    computed = [SAMPLES * (FORWARD[0] + BACKWARD[0]) / 100, SAMPLES * (FORWARD[1] + BACKWARD[1]) / 200]
    ends = max(over + back[0] + SAMPLES * BACKWARD[0] / 100, over + back[1] + SAMPLES * BACKWARD[1] / 200)
    found = timed(built("psl"))
    assert found["seconds"] == pytest.approx(ends)
    assert found["clients"]["compute_seconds"] == pytest.approx(computed)
    assert found["clients"]["last"] == [1, 0]
    assert found["phases"]["server"] == pytest.approx(SAMPLES * sum(SERVER) / 50)
    assert found["phases"]["up"] == pytest.approx(1 + SAMPLES * (UP[0] + LABEL) / 10)
    assert sum(found["phases"].values()) == pytest.approx(ends)


def test_weights_of_each_clients_own_layers_are_merged_when_all_are_there() -> None:
    down = [1 + WEIGHTS[0] / 10, WEIGHTS[1] / 20]
    arrives = [one + first for one, first in zip(arrivals(), down, strict=True)]
    over = max(arrives) + SAMPLES * sum(SERVER) / 50
    ready = [over + 1 + SAMPLES * UP[0] / 10 + SAMPLES * BACKWARD[0] / 100]
    ready += [over + SAMPLES * UP[1] / 20 + SAMPLES * BACKWARD[1] / 200]
    merged = max(ready[0] + 1 + WEIGHTS[0] / 10, ready[1] + WEIGHTS[1] / 20)
    found = timed(built("sfl"))
    assert found["seconds"] == pytest.approx(merged)
    assert found["clients"]["last"] == [2, 0]  # of the step, and of the merge
    spent = sum(np.array(found["clients"][f"{name}_seconds"]) for name in ("compute", "transfer", "waiting"))
    assert spent.tolist() == pytest.approx([merged] * 2)


def test_a_sample_that_goes_through_the_server_twice_is_of_each_cut_in_proportion() -> None:
    """CycleSL learns from all samples, and asks the new weights for their gradients: half of them at either cut."""
    training = built("cyclesl")
    found, work = timed(training), training.trainer.server.work
    assert work is not None
    # Back to the weights alone: not to the inputs of the first layer there; to the inputs alone: half of a whole way.
    forward, to_weights, to_inputs = (90 + 30) / 2, (60 + 30 + 30 + 30) / 2, (90 + 30) / 2
    done = work.forward * forward + work.to_weights * to_weights + work.to_inputs * to_inputs + work.backward * 120
    assert work.to_weights > 0
    assert work.to_inputs > 0
    assert found["phases"]["server"] == pytest.approx(done / 50)


def test_a_quorum_takes_each_clients_own_time() -> None:
    """Of two clients the first that arrives is in a step; the other one's batch is lost, and keeps it busy."""
    training = built("psl", stragglers="quorum:1")
    pace = training.trainer.plan.batches.pace
    wanted = [(FORWARD[0] + BACKWARD[0]) / 100 + (UP[0] + LABEL + UP[0]) / 10]
    wanted += [(FORWARD[1] + BACKWARD[1]) / 200 + (UP[1] + LABEL + UP[1]) / 20]
    assert pace is not None
    assert pace.each.tolist() == pytest.approx(wanted)
    assert pace.serves(np.array([1, 3])) == pytest.approx((SERVER[0] + 3 * SERVER[1]) / 50)
    assert pace.of([1]).serves(np.array([2])) == pytest.approx(2 * SERVER[1] / 50)
    found = timed(training)["clients"]
    assert found["compute_seconds"] == pytest.approx(
        [SAMPLES * FORWARD[0] / 100, SAMPLES * (FORWARD[1] + BACKWARD[1]) / 200]
    )
    assert found["transfer_seconds"][0] == pytest.approx(1 + SAMPLES * (UP[0] + LABEL) / 10)


def test_messages_of_several_cuts_are_one_of_all_clients() -> None:
    def sent(kind: str, clients: tuple[int, ...], *sizes: int) -> Traffic:
        return Traffic(kind, True, clients, np.array(sizes))

    first = [sent("smashed", (0, 2), 10, 30), sent("labels", (0, 2), 1, 3)]
    found = joined([*first, sent("smashed", (1,), 2), sent("labels", (1,), 2)])
    assert [(one.kind, one.clients, one.sizes.tolist()) for one in found] == [
        ("smashed", (0, 1, 2), [10, 2, 30]),
        ("labels", (0, 1, 2), [1, 2, 3]),
    ]
    assert samples_of(found, 12).tolist() == pytest.approx([2, 4, 6])


RUN: dict[str, Any] = {"clients": 3, "samples_per_client": 24, "epochs": 2, "threads": 1, "dataset": "digits"}
RUN |= {"cuts": "0=conv1,1=pool1,2=relu2", "clock": "lognormal:phone/4g", "participation": 0.7, "batch_size": 5}


@pytest.mark.parametrize("method", ["sglr", pytest.param("ssl", marks=pytest.mark.slow)])
def test_stopped_and_resumed_the_clock_goes_on(method: str, tmp_path: Path) -> None:
    whole, seen = sglr.train(method, **RUN, out=tmp_path / "whole"), [0]

    def observe(event: object) -> None:
        seen[0] += isinstance(event, StepDone)

    with pytest.raises(Interrupted):
        sglr.train(method, **RUN, out=tmp_path / "cut", observe=observe, stop=lambda: seen[0] >= 4)
    run = sglr.resume(tmp_path / "cut")
    assert whole.summary is not None
    assert run.summary is not None
    assert run.summary["modelled_time"] == whole.summary["modelled_time"]
    without = sglr.train(method, **{**RUN, "clock": None}, out=tmp_path / "without")
    assert without.summary is not None
    assert without.summary["weights_sha256"] == whole.summary["weights_sha256"]
