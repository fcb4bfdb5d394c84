"""Several values cross on a cluster as in one process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tests import several_values

import sglr


@pytest.mark.slow
@pytest.mark.parametrize("server", ["driver", "cluster"])
def test_law_2_on_a_cluster(ray_here: Any, server: str, tmp_path: Path) -> None:
    ray_here.cloudpickle.register_pickle_by_value(several_values)
    told: dict[str, Any] = {
        "clients": 3,
        "batch_size": 6,
        "epochs": 2,
        "defence": "noise:sigma=0.1",
        "optimizer": "sgd",
    }
    torch.manual_seed(0)
    model = several_values.Lines()
    runs = [
        sglr.train(
            "sglr",
            model=model,
            dataset=several_values.lines(),
            out=tmp_path / engine,
            engine=engine,
            compression="int8",
            **told,
            **({"ray_server": server, "block_clients": 2} if engine == "ray" else {}),
        )
        for engine in ("local", "ray")
    ]
    here, there = (run.summary for run in runs)
    assert here is not None
    assert there is not None
    assert here["communication"] == there["communication"]
    assert here["test"]["loss"] == pytest.approx(there["test"]["loss"], abs=1e-4)
