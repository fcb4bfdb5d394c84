"""One Ray for all tests of this folder that a process runs, and trainings whose clients live in it."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from tests import some_targets

from sglr.core.trainer import Trainer
from sglr.engines.ray import Ray
from sglr.parties.spec import ClientSpec
from sglr.runs.config import Experiment
from sglr.system.ray_cluster import connect, disconnect


@pytest.fixture(scope="session")
def ray_here(case: Any) -> Iterator[Any]:
    """Start Ray; what tests define goes to its processes by value, since these can't import tests."""
    ray = connect()
    ray.cloudpickle.register_pickle_by_value(sys.modules[case.__module__])
    ray.cloudpickle.register_pickle_by_value(some_targets)
    yield ray
    disconnect()
    gc.collect()  # here, where what Ray leaves open may pass


@pytest.fixture
def on_ray(ray_here: Any, case: Any) -> Iterator[Callable[..., Trainer]]:
    """Build a training as ``case`` does, with the engine ``ray``; its processes end with the test."""
    engines: list[Ray] = []

    def build(*args: Any, block_clients: int | None = None, ray_server: str = "driver", **kwargs: Any) -> Trainer:
        def make(setting: ClientSpec) -> Ray:
            threads = torch.get_num_threads()
            experiment = Experiment(engine="ray", block_clients=block_clients, ray_server=ray_server, threads=threads)
            engines.append(Ray(replace(setting, experiment=experiment)))
            return engines[-1]

        trainer: Trainer = case(*args, engine=make, **kwargs).build()
        engines[-1].open(None)
        engines[-1].start()
        return trainer

    yield build
    for engine in engines:
        engine.close(done=True)
