"""Exporting a trained run: every part is what was trained, and what can't be exported leaves nothing behind."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from huggingface_hub import ModelCard
from torch import Tensor, nn
from torch.export import ExportedProgram

import sglr
from sglr.cli.main import main
from sglr.core import registry
from sglr.exporting.check import ExportDiffers
from sglr.exporting.formats.torch import Torch

SETTINGS = {"dataset": "digits", "clients": 3, "epochs": 1, "samples_per_client": 40, "seed": 1}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> sglr.Run:
    """Return a run whose clients have layers of their own."""
    return sglr.train("psl", model="mlp", out=tmp_path_factory.mktemp("runs") / "psl", **SETTINGS)


@pytest.fixture
def call(capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    def run_it(*words: object) -> tuple[int, str, str]:
        code = main([str(word) for word in words])
        return code, *capfd.readouterr()

    return run_it


def in_onnxruntime(path: Path, inputs: Tensor) -> np.ndarray:
    found: np.ndarray = onnxruntime.InferenceSession(path).run(["output"], {"input": inputs.numpy()})[0]
    return found


def test_a_client_s_part_runs_in_onnx_runtime_with_what_it_needs_in_its_metadata(
    run: sglr.Run, tmp_path: Path, call: Any
) -> None:
    out = tmp_path / "out"
    code, told, _ = call("export", run.path, "--segment", "client", "--client", 2, "--out", out, "--json")
    assert code == 0
    assert json.loads(told)["files"][0]["compared"]["difference"] <= 1e-4
    assert sorted(path.name for path in out.iterdir()) == ["MODEL.md", "client.onnx", "export.json"]
    inputs = torch.rand(7, 1, 8, 8)
    wanted = sglr.load_model(run.path, 2).client(inputs).detach().numpy()
    assert in_onnxruntime(out / "client.onnx", inputs) == pytest.approx(wanted, abs=1e-5)
    metadata = json.loads(onnxruntime.InferenceSession(out / "client.onnx").get_modelmeta().custom_metadata_map["sglr"])
    assert (metadata["segment"], metadata["client"], metadata["whose"]) == ("client", 2, "client 2")
    assert metadata["input"] == {"what": "data", "shape": ["batch", 1, 8, 8], "dtype": "float32"}
    assert metadata["preprocessing"]["range"] == [0, 255]
    assert metadata["targets"]["names"] == list("0123456789")
    card = ModelCard.load(out / "MODEL.md")
    assert card.data.library_name == "sglr"
    assert card.data.eval_results[0].metric_value == run.summary["test"]["accuracy"]
    assert str(tmp_path) not in (out / "MODEL.md").read_text(encoding="utf-8") + json.dumps(metadata)


def test_a_file_that_differs_fails_and_leaves_nothing(run: sglr.Run, tmp_path: Path, monkeypatch: Any) -> None:
    plug_in(monkeypatch)
    with pytest.raises(ExportDiffers, match=r"joined.pt2: its outputs differ .* nothing was exported"):
        sglr.export(run, tmp_path / "out", format="altered", segment="joined", client=0)
    assert list(tmp_path.iterdir()) == []


class Altered(Torch):
    """An exporter with a defect."""

    def write(self, program: ExportedProgram, path: Path, metadata: str) -> None:
        """Change a weight."""
        name, weight = next(iter(program.state_dict.items()))
        program.state_dict[name] = nn.Parameter(weight + 0.1)
        super().write(program, path, metadata)


def plug_in(monkeypatch: Any) -> None:
    found = {"altered": EntryPoint("altered", f"{__name__}:Altered", "sglr.exporting.formats")}
    before = registry._plugins
    monkeypatch.setattr(
        registry, "_plugins", lambda group: found if group == "sglr.exporting.formats" else before(group)
    )
    monkeypatch.setattr(EntryPoint, "load", lambda self: Altered)


class Choosing(nn.Module):
    """A layer that looks at values, as no graph can."""

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs * 2 if inputs.sum() > 0 else inputs


def test_a_model_that_cannot_be_traced_is_told_with_the_reason(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Flatten(), Choosing(), nn.Linear(64, 10))
    run = sglr.train("sfl", model=model, cut=1, out=tmp_path / "run", **SETTINGS)
    with pytest.raises(sglr.UsageError, match=r"torch.export can't trace its part server .*data-dependent"):
        sglr.export(run, tmp_path / "out", format="torch", segment="server", model=model)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("--segment", "tail"), "the run has no tail"),
        (("--segment", "tails"), "did you mean 'tail'?"),
        (("--format", "onyx"), "did you mean 'onnx'?"),
        (("--client", 3), "there are 3 clients; give 0 to 2"),
        (("--client", "all"), "is no client"),
        (("--client", "each"), "a module gives one output"),
        (("--push-to-hub", "name"), "give OWNER/NAME"),
    ],
)
def test_what_is_wrong_is_told_in_one_line_before_anything_is_written(
    run: sglr.Run, tmp_path: Path, call: Any, flags: tuple[object, ...], told: str
) -> None:
    code, out, error = call("export", run.path, "--out", tmp_path / "out", *flags)
    assert (code, out, error.count("\n")) == (2, "", 1)
    assert told in error
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_other_files_is_refused(run: sglr.Run, tmp_path: Path, call: Any) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    code, _, error = call("export", run.path, "--out", tmp_path)
    assert code == 2
    assert "has other files in it; give a new folder" in error
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_run_without_a_checkpoint_is_refused(run: sglr.Run, tmp_path: Path, call: Any) -> None:
    for name in ("config.toml", "data.json"):
        (tmp_path / name).write_bytes((run.path / name).read_bytes())
    code, _, error = call("export", tmp_path)
    assert code == 2
    assert "has no checkpoint" in error
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.toml", "data.json"]
