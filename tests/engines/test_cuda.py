"""The local engine on a GPU gives the numbers that it gives on a CPU, and resumes bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import sglr
from sglr.build import build
from sglr.config import Experiment
from sglr.core.errors import Interrupted
from sglr.core.registry import METHODS
from sglr.core.types import StepDone

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
