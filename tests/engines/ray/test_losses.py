"""Law 5 on a cluster: whoever dies, and whenever, a run ends with the weights of one in peace."""

from __future__ import annotations

import math
import os
import random
import signal
import sys
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from sglr.assembly.parts import PartOverrides, Training
from sglr.core.errors import SglrError
from sglr.core.events import Event, StepDone
from sglr.engines.ray import actor_pool as pool
from sglr.experiment.train import execute
from sglr.runs.config import Experiment
from sglr.runs.folder import Run

SETTINGS = {
    "engine": "ray",
    "model": "mlp",
    "clients": 4,
    "samples_per_client": 48,
    "block_clients": 2,
    "epochs": 2,
    "method": "sfl",
    "device": "cpu",
    "test_samples": 50,
    "checkpoint_every": 4,
}


def train(
    out: Path,
    disturb: Callable[[Training, int], None] = lambda built, step: None,
    given: PartOverrides | None = None,
    **more: Any,
) -> Run:
    """Train; ``disturb`` is called after every step, counted over repetitions too."""
    built: list[Training] = []
    steps = 0

    def observe(event: Event) -> None:
        nonlocal steps
        if isinstance(event, StepDone):
            steps += 1
            disturb(built[0], steps)

    experiment = Experiment.from_flat({**SETTINGS, **more})
    return execute(experiment, out, given=given, observe=observe, ready=built.append)


def weights(run: Run) -> str:
    assert run.summary is not None
    return str(run.summary["weights_sha256"])


@pytest.mark.slow
def test_processes_killed_twice_at_random(ray_here: Any, tmp_path: Path) -> None:
    """12 steps in all; a run that is disturbed takes some again."""
    rng = random.Random(os.urandom(8))
    when = sorted(rng.sample(range(1, 12), 2))
    killed = []

    def kill(built: Training, step: int) -> None:
        if step in when:
            engine: Any = built.trainer.engine
            victim = rng.choice(engine.pool.processes())
            os.kill(victim, signal.SIGKILL)
            killed.append(victim)

    assert weights(train(tmp_path / "killed", kill)) == weights(train(tmp_path / "peace")), when
    assert len(killed) == 2


@pytest.mark.slow
def test_the_servers_process_is_killed(ray_here: Any, tmp_path: Path) -> None:
    # With other numbers of threads sums round otherwise, and a server in the cluster takes all processors.
    settings = {"ray_server": "cluster", "method": "sglr", "threads": 1}

    def kill(built: Training, step: int) -> None:
        if step == 7:
            engine: Any = built.trainer.engine
            os.kill(engine.pool.processes()[-1], signal.SIGKILL)

    disturbed = train(tmp_path / "killed", kill, **settings)
    assert weights(disturbed) == weights(train(tmp_path / "peace", **settings))
    assert weights(disturbed) == weights(train(tmp_path / "here", method="sglr", threads=1))


class Failing(nn.Module):
    """Ends its process, or raises, once a file is there."""

    def __init__(self, inputs: int, when: Path, dies: bool) -> None:
        super().__init__()
        self.layer = nn.Linear(inputs, 8)
        self.when, self.dies = when, dies

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        if self.when.exists():
            if self.dies:
                os._exit(3)
            raise ValueError("this layer does not like these images")
        return torch.relu(self.layer(values.flatten(1)))


def failing(when: Path, *, dies: bool) -> PartOverrides:
    def build(shape: Sequence[int], classes: int) -> nn.Module:
        lower = Failing(math.prod(shape), when, dies)
        return nn.Sequential(OrderedDict(lower=lower, upper=nn.Linear(8, classes)))

    return PartOverrides(model=build)


@pytest.mark.slow
def test_an_error_of_the_users_own_model_comes_out_as_it_is(ray_here: Any, tmp_path: Path) -> None:
    ray_here.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    when = tmp_path / "now"
    with pytest.raises(ValueError, match="this layer does not like these images"):
        train(
            tmp_path / "run",
            lambda built, step: when.touch(),
            failing(when, dies=False),
            model="<failing>",
            cut="lower",
            method="psl",
        )


@pytest.mark.slow
def test_a_process_that_dies_again_and_again_ends_the_run(
    ray_here: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray_here.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    monkeypatch.setattr(pool, "MOST_LOSSES", 2)
    when = tmp_path / "now"
    with pytest.raises(SglrError, match="were lost 3 times without reaching a checkpoint"):
        train(
            tmp_path / "run",
            lambda built, step: when.touch(),
            failing(when, dies=True),
            model="<failing>",
            cut="lower",
            method="psl",
            checkpoint_every=0,
        )
