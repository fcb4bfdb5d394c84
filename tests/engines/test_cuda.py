"""The local engine on a GPU gives the numbers that it gives on a CPU, and resumes bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import sglr
from sglr.build import build
from sglr.config import Experiment
from sglr.core.checkpoint import read_checkpoint
from sglr.core.errors import Interrupted
from sglr.core.registry import METHODS
from sglr.core.types import StepDone
from sglr.experiment import execute
from sglr.together import execute_together

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

SETTINGS: dict[str, Any] = {"clients": 5, "samples_per_client": 40, "epochs": 2, "optimizer": "sgd", "lr": 0.05}


@pytest.mark.parametrize("stacking", ["stacked", "looped"])
@pytest.mark.parametrize("model", ["mlp", "cnn", "resnet16"])
@pytest.mark.parametrize("method", METHODS.names())
def test_first_epoch_is_that_of_the_cpu(method: str, model: str, stacking: str) -> None:
    weights = {}
    for device in ("cpu", "cuda"):
        settings = {**SETTINGS, "method": method, "model": model, "device": device, "stacking": stacking, "epochs": 1}
        built = build(Experiment.from_flat(settings))
        built.trainer.run()
        weights[device] = {name: value.cpu() for name, value in built.trainer.state().items() if "weights." in name}
    for name, value in weights["cpu"].items():
        torch.testing.assert_close(weights["cuda"][name], value, rtol=1e-2, atol=1e-3)


def test_stopped_and_resumed(tmp_path: Path) -> None:
    settings = {**SETTINGS, "device": "cuda", "model": "mlp"}
    whole = sglr.train(out=tmp_path / "whole", **settings)
    seen = [0]

    def observe(event: object) -> None:
        seen[0] += isinstance(event, StepDone)

    with pytest.raises(Interrupted):
        sglr.train(out=tmp_path / "stopped", observe=observe, stop=lambda: seen[0] >= 7, **settings)
    assert sglr.resume(tmp_path / "stopped").summary["weights_sha256"] == whole.summary["weights_sha256"]


@pytest.mark.parametrize("model", ["mlp", "resnet16"])
def test_trials_together_are_trials_alone(model: str, tmp_path: Path) -> None:
    several = [
        Experiment.from_flat(
            {**SETTINGS, "device": "cuda", "model": model, "epochs": 1, "seed": seed, "alpha": seed / 2}
        )
        for seed in range(3)
    ]
    together = execute_together(several, [tmp_path / f"{seed}" for seed in range(3)])
    for own, run in zip(several, together, strict=True):
        alone = execute(own, tmp_path / f"alone-{own.seed}")
        found, wanted = (read_checkpoint(each.checkpoints[-1])[0] for each in (run, alone))
        for name, value in wanted.items():
            torch.testing.assert_close(found[name], value, rtol=1e-2, atol=1e-3)
