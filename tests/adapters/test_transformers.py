"""Adapters in transformers of the package transformers, which are cut by truncation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from tests.some_transformers import LABELS, model_of, texts_of

import sglr
from sglr.core.data import Dataset, Samples
from sglr.core.weights import state_of, trained_of
from sglr.splitting.transformers import Transformer

PADDING = 0
SETTINGS: dict[str, Any] = {"clients": 3, "batch_size": 4, "epochs": 2, "threads": 1, "lr": 0.01, "method": "sfl"}


def texts() -> Dataset:
    inputs = torch.cat([texts_of(PADDING, seed) for seed in range(16)])
    targets = inputs[:, 0] % LABELS
    return Dataset("texts", Samples(inputs[:36], targets[:36]), Samples(inputs[36:], targets[36:]), tuple("abc"))


def train(out: Path, kind: str, lora: str, **settings: Any) -> tuple[Transformer, sglr.Run]:
    model = Transformer(model_of(kind), padding=PADDING)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0  # else stacked clients drop other values than a loop
    given = {"model": model, "dataset": texts(), "lora": lora, "cut": "layer.1", **SETTINGS, **settings}
    return model, sglr.train(out=out, **given)


@pytest.mark.filterwarnings("ignore")  # of peft and transformers about one another
@pytest.mark.parametrize(
    ("kind", "targets"),
    [("bert", "query+value"), ("gpt2", "c_attn"), ("llama", "q_proj+v_proj+down_proj")],
)
def test_adapters_are_stacked_and_reloaded_by_peft(tmp_path: Path, kind: str, targets: str) -> None:
    model, run = train(tmp_path / "stacked", kind, f"r=2,targets={targets}", stacking="stacked")
    _, looped = train(tmp_path / "looped", kind, f"r=2,targets={targets}", stacking="looped")
    networks = [sglr.load_model(each.path, model=model, dataset=texts()) for each in (run, looped)]
    for side in ("client", "server"):
        ours, theirs = (state_of(getattr(network, side)) for network in networks)
        assert all(torch.allclose(ours[name], theirs[name], atol=1e-4) for name in ours)
        assert all(".lora_" in name for name in ours if side == "client")
    done = sglr.export_adapters(run.path, model=model)
    inner = model_of(kind)
    PeftModel.from_pretrained(inner, done.path)
    reloaded = Transformer(inner, padding=PADDING).eval()
    inputs = texts().test.inputs
    with torch.no_grad():
        assert torch.allclose(reloaded(inputs), networks[0](inputs), atol=1e-5)
        assert not torch.allclose(model.eval()(inputs), networks[0](inputs), atol=1e-3)
    assert trained_of(networks[0].client)


def test_a_pretrained_folder_is_fine_tuned_and_used_without_its_weights(tmp_path: Path) -> None:
    """The run keeps the frozen network, in 8 bits here, so that its folder answers when the model's is gone."""
    source = model_of("bert", seed=3)
    source.save_pretrained(tmp_path / "model")
    given = {
        "model": f"hf:{tmp_path / 'model'}",
        "dataset": texts(),
        "cut": "layer.1",
        "lora": "r=2,targets=query+value",
    }
    run = sglr.train(out=tmp_path / "run", quantize="int8", **{**SETTINGS, **given, "epochs": 1})
    inputs = texts().test.inputs
    with torch.no_grad():
        before = run.network().module()(inputs)
    (tmp_path / "model").rename(tmp_path / "gone")
    with torch.no_grad():
        assert torch.equal(run.network().module()(inputs), before)
    assert run.summary["parameters"]["client"] == 2 * 2 * 2 * (16 + 16)


def test_a_language_model_s_own_head_is_not_trained(tmp_path: Path) -> None:
    model = Transformer(model_of("llama", "language"), padding=PADDING)
    tokens = torch.cat([texts_of(PADDING, seed) for seed in range(12)])
    parts = [Samples(part[:, :-1], part[:, 1:]) for part in (tokens[:24], tokens[24:30], tokens[30:])]
    targets = sglr.Targets(shape=(8,), classes=60)
    data = Dataset("texts", parts[0], parts[1], validation=parts[2], targets=targets)
    given = {"model": model, "dataset": data, "cut": "layer.1", "lora": "r=2,targets=q_proj", "task": "language"}
    run = sglr.train(out=tmp_path / "run", **{**SETTINGS, **given, "epochs": 1})
    loaded = sglr.load_model(run.path, model=model, dataset=data)
    assert all(".lora_" in name for name in trained_of(loaded.server))
