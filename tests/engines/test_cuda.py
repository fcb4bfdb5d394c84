"""The local engine on a GPU gives the numbers that it gives on a CPU, and resumes bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import sglr
from sglr.assembly.build import build
from sglr.core.errors import Interrupted
from sglr.core.events import StepDone
from sglr.core.registry import METHODS
from sglr.core.trainer import Trainer
from sglr.core.types import StepContext
from sglr.runs.config import Experiment

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


def _one_step(trainer: Trainer, step: int) -> None:
    uplink = trainer.engine.forward(step)
    assert uplink is not None, "everyone has samples"
    context = StepContext(0, 1, step, 5, np.random.default_rng(step))
    trainer.engine.backward(trainer.method.exchange(trainer.server, uplink, context), 1e-3)


@pytest.mark.parametrize("stacking", ["stacked", "matmul", "looped"])
@pytest.mark.parametrize("method", ["sglr", "psl", "sfl"])
def test_a_step_never_waits_for_the_device(method: str, stacking: str) -> None:
    settings = {**SETTINGS, "method": method, "device": "cuda", "stacking": stacking, "optimizer": "adam"}
    trainer = build(Experiment.from_flat(settings)).trainer
    trainer.engine.begin_epoch(tuple(range(5)), 0)
    _one_step(trainer, 0)  # what is set up once may wait
    torch.cuda.set_sync_debug_mode("error")
    try:
        for step in range(1, 4):
            _one_step(trainer, step)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("model", ["cnn", "resnet16"])
def test_convolutions_as_products_of_matrices_are_convolutions(model: str) -> None:
    weights = []
    for stacking in ("stacked", "matmul"):
        built = build(Experiment.from_flat({**SETTINGS, "model": model, "device": "cuda", "stacking": stacking}))
        built.trainer.engine.begin_epoch(tuple(range(5)), 0)
        _one_step(built.trainer, 0)
        weights.append(built.trainer.engine.collect(tuple(range(5))))
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("settings", [{"precision": "tf32"}, {"precision": "bf16"}, {"compile": True}])
def test_other_ways_of_computing_learn_and_resume(settings: dict[str, Any], tmp_path: Path) -> None:
    settings = {**SETTINGS, "device": "cuda", "model": "cnn", "optimizer": "adam", "lr": 1e-3, **settings}
    whole = sglr.train(out=tmp_path / "whole", **settings)
    assert whole.history[-1]["loss"] < whole.history[0]["loss"]
    seen = [0]

    def observe(event: object) -> None:
        seen[0] += isinstance(event, StepDone)

    with pytest.raises(Interrupted):
        sglr.train(out=tmp_path / "stopped", observe=observe, stop=lambda: seen[0] >= 7, **settings)
    assert sglr.resume(tmp_path / "stopped").summary["weights_sha256"] == whole.summary["weights_sha256"]


def test_fp32_is_single_precision_of_convolutions_too() -> None:
    for precision, rounded in (("tf32", True), ("fp32", False)):
        build(Experiment.from_flat({**SETTINGS, "device": "cuda", "precision": precision}))
        assert torch.backends.cudnn.allow_tf32 is torch.backends.cuda.matmul.allow_tf32 is rounded


def test_the_measured_choice_is_made_again_and_leaves_the_generators_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SGLR_TUNING", "on")
    monkeypatch.setenv("SGLR_CACHE_DIR", str(tmp_path))
    before = torch.cuda.get_rng_state()
    chosen = [build(Experiment.from_flat({**SETTINGS, "device": "cuda"})).choices for _ in range(2)]
    assert chosen[0] == chosen[1]
    assert chosen[0]["stacking"] in ("stacked", "matmul", "looped")
    assert torch.equal(torch.cuda.get_rng_state(), before)
