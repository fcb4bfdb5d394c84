"""Adapters in peft's own format: what peft makes of them is what the run trained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from tests.adapters.networks import CLASSES, INPUTS, SETTINGS, dataset, network, normed

import sglr
from sglr.cli.main import main
from sglr.core.errors import UsageError


def trained(out: Path, model: Any, **settings: Any) -> sglr.Run:
    return sglr.train(**{"method": "sfl", "model": model, "dataset": dataset(), "out": out, **SETTINGS, **settings})


@pytest.mark.filterwarnings("ignore")  # of peft, that a module of one's own has no configuration
@pytest.mark.parametrize(
    "settings",
    [
        {"cut": 4},
        {"cut": 2, "tail": 4},
        {"method": "fl", "cut": None},
        {"lora": "r=2,at=clients", "cut": 4},
        {"lora": "r=2,at=server", "cut": 4},
        {"lora": "r=3,targets=query,modules_to_save=5", "cut": 4},
    ],
    ids=str,
)
def test_peft_reloads_what_was_trained(tmp_path: Path, settings: dict[str, Any]) -> None:
    torch.manual_seed(5)
    model = normed((INPUTS,), CLASSES)
    run = trained(tmp_path / "run", model, lr=0.05, **settings)
    done = sglr.export_adapters(run.path, model=model)
    assert [file.name for file in done.files] == ["adapter_model.safetensors"]
    inputs = dataset().test.inputs
    with torch.no_grad():
        before = model.eval()(inputs)
        wanted = run.network(model=model).module()(inputs)
        found = PeftModel.from_pretrained(model, done.path).eval()(inputs)
    assert torch.allclose(found, wanted, atol=1e-6)
    assert not torch.allclose(found, before, atol=1e-2)


@pytest.mark.filterwarnings("ignore")
def test_each_client_s_own_adapters_are_a_folder(tmp_path: Path) -> None:
    model = network()
    run = trained(tmp_path / "run", model, method="psl", lr=0.05)
    done = sglr.export_adapters(run.path, model=model)
    assert [file.name for file in done.files] == [f"client-{client}/adapter_model.safetensors" for client in range(4)]
    ends = [load_file(done.path / file.name) for file in done.files]
    assert not torch.equal(ends[0]["base_model.model.1.lora_B.weight"], ends[1]["base_model.model.1.lora_B.weight"])
    assert torch.equal(
        ends[0]["base_model.model.3.query.lora_B.weight"], ends[1]["base_model.model.3.query.lora_B.weight"]
    )
    one = sglr.export_adapters(run.path, tmp_path / "one", model=model, client=2)
    third = load_file(one.path / "adapter_model.safetensors")
    assert all(torch.equal(third[name], tensor) for name, tensor in ends[2].items())


def test_the_command_line_writes_a_model_card_and_a_record(tmp_path: Path, capsys) -> None:
    settings = ["--clients", "2", "--epochs", "1", "--samples-per-client", "16", "--model", "mlp", "--quiet"]
    assert main(["train", "--method", "sfl", "--lora", "r=2", *settings, "--out", str(tmp_path / "run")]) == 0
    capsys.readouterr()
    assert main(["export", str(tmp_path / "run"), "--adapters", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["format"] == "peft"
    folder = tmp_path / "run" / "export-adapters"
    assert {path.name for path in folder.iterdir()} == {
        "MODEL.md",
        "export.json",
        "adapter_config.json",
        "adapter_model.safetensors",
    }
    config = json.loads((folder / "adapter_config.json").read_text())
    assert (config["peft_type"], config["r"], config["lora_alpha"]) == ("LORA", 2, 16)
    assert "PeftModel.from_pretrained" in (folder / "MODEL.md").read_text()


def test_what_is_wrong_is_told(tmp_path: Path, capsys) -> None:
    model = network()
    run = trained(tmp_path / "run", model, lora=None, epochs=1)
    with pytest.raises(UsageError, match="the run was trained without --lora"):
        sglr.export_adapters(run.path, model=model)
    assert main(["export", str(run.path), "--adapters", "--format", "torch"]) == 2
    assert "--adapters writes peft's own files" in capsys.readouterr().err
