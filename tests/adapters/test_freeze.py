"""Layers that are frozen by name stay as they are, statistics too, and are in no message."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.adapters.networks import CLASSES, INPUTS, SETTINGS, WIDTH, dataset, network, normed
from tests.some_transformers import model_of, texts_of
from torch import nn

import sglr
from sglr.adapters.freeze import frozen_layers
from sglr.core.errors import UsageError
from sglr.core.weights import state_of, trained_of
from sglr.splitting.segment_weights import frozen_of
from sglr.splitting.transformers import Transformer

FREEZING = {name: value for name, value in SETTINGS.items() if name != "lora"} | {"cut": 4, "freeze": "1+2"}


def train(out: Path, model: Any = normed, **settings: Any) -> sglr.Run:
    return sglr.train(**{"method": "sfl", "model": model, "dataset": dataset(), "out": out, **FREEZING, **settings})


@pytest.mark.parametrize("form", ["stacked", "looped"])
def test_a_frozen_stem_never_moves_and_is_never_sent(tmp_path: Path, form: str) -> None:
    torch.manual_seed(3)
    model = normed((INPUTS,), CLASSES)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    run = train(tmp_path / "run", model, stacking=form)
    loaded = sglr.load_model(run.path, model=model, dataset=dataset())
    client = {name.removeprefix("client."): tensor for name, tensor in loaded.client.state_dict().items()}
    stem = [name for name in before if name.startswith(("1.", "2."))]
    assert {"1.weight", "2.weight", "2.running_mean", "2.num_batches_tracked"} <= {*stem}
    assert all(torch.equal(client[name], before[name]) for name in stem)
    assert all(name.startswith("3.") for name in state_of(loaded.client))
    assert {*frozen_of(loaded.client)} >= {*stem}
    counts = run.summary["parameters"]
    mixer = 2 * (WIDTH * WIDTH + WIDTH)
    assert counts["client"] == mixer
    sent = run.summary["communication"]["by_kind"]["up"]["weights"]
    table = 8 * WIDTH  # of a mixer, in integers of 64 bits
    assert sent == (4 * mixer + table) * SETTINGS["clients"] * SETTINGS["epochs"]


def test_a_run_goes_on_and_answers_with_its_frozen_stem(tmp_path: Path) -> None:
    whole = train(tmp_path / "whole")
    steps = iter([False, False, True, True, True])
    with pytest.raises(sglr.Interrupted):
        train(tmp_path / "run", stop=lambda: next(steps))
    run = sglr.resume(tmp_path / "run", model=normed, dataset=dataset())
    assert run.summary["weights_sha256"] == whole.summary["weights_sha256"]
    assert run.summary["frozen_sha256"] == whole.summary["frozen_sha256"]


def test_adapters_of_the_server_and_a_stem_that_stays(tmp_path: Path) -> None:
    run = train(tmp_path / "run", lora="r=2,at=server")
    loaded = sglr.load_model(run.path, model=normed, dataset=dataset())
    assert all(name.startswith("3.") for name in trained_of(loaded.client))
    assert any(".lora_" in name for name in trained_of(loaded.server))


def test_names_of_a_transformer_s_layers_may_go_without_model() -> None:
    model = frozen_layers(Transformer(model_of("bert"), padding=0), "bert.embeddings+bert.encoder.layer.0", texts_of(0))
    trained = set(trained_of(model))
    assert not any("embeddings" in name or ".layer.0." in name for name in trained)
    assert any(".layer.1." in name for name in trained)


@pytest.mark.parametrize(
    ("names", "told"),
    [
        ("", "names no layer"),
        ("+", "names no layer"),
        ("conv1", "no layer is called 'conv1'; the model's own layers: 0, 1, 2, 3, 4"),
        ("1+3.qury", "no layer is called '3.qury'; did you mean 3.query"),
        ("0", "0 has no weights; leave it out"),
        ("1+2+3+4", "no weight that is trained|nothing to train"),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_written(names: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=told):
        train(tmp_path / "run", network, cut=3, freeze=names)
    assert not (tmp_path / "run").exists()


def test_statistics_of_other_layers_still_move() -> None:
    model = nn.Sequential(nn.Linear(INPUTS, 4), nn.BatchNorm1d(4), nn.Linear(4, 4), nn.BatchNorm1d(4))
    frozen_layers(model, "0+1", torch.randn(4, INPUTS)).train()(torch.randn(4, INPUTS))
    assert not dict(model[1].named_buffers())
    assert torch.equal(model[1].running_mean, torch.zeros(4))
    assert not torch.equal(model[3].running_mean, torch.zeros(4))
