"""Every built-in model in every format, for the outputs of every task; codecs, tails and averages of clients."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from tests.exporting.hub import serving

import sglr
from sglr.core.data import Dataset, Samples
from sglr.core.registry import EXPORTERS, MODELS, TASKS
from sglr.core.task import Targets
from sglr.exporting.exporter import Exporter

ROOT = Path(__file__).parents[2]
FORMATS = [name for name in EXPORTERS.names() if name != "executorch" or find_spec("executorch")]

CASES = {
    "alexnet": ("classification", (1, 16, 16), Targets.of_classes(("a", "b", "c"))),
    "cnn": ("binary", (3, 8, 8), Targets.of_classes(("no", "yes"))),
    "cnn1d": ("multilabel", (2, 16), Targets(("x", "y", "z"), (3,), "int64", 2)),
    "fcn": ("segmentation", (1, 8, 8), Targets(("back", "front", "edge"), (8, 8), "uint8", 3)),
    "mlp": ("regression", (4,), Targets(("length", "weight"), (2,), "float32")),
    "resnet16": ("ordinal", (1, 8, 8), Targets.of_classes(("low", "middle", "high"))),
    "transformer": ("language", (6,), Targets((), (6,), "int64", 7)),
}
"""By model, a task, the shape of an input, and targets."""


def made_up(shape: tuple[int, ...], targets: Targets, tokens: bool) -> Dataset:
    def part(number: int) -> Samples:
        rng = torch.Generator().manual_seed(number)
        rows = torch.arange(number) % (targets.classes or number)
        wanted = rows.reshape(-1, *(1,) * len(targets.shape)).expand(number, *targets.shape).to(targets.torch_dtype)
        inputs = torch.randint(7, (number, *shape), generator=rng) if tokens else None
        return Samples(torch.randn(number, *shape, generator=rng) if inputs is None else inputs, wanted)

    return Dataset("made-up", part(24), part(9), targets=targets)


def test_the_cases_are_all_models_and_tasks() -> None:
    assert list(CASES) == MODELS.names()
    assert {task for task, _, _ in CASES.values()} == set(TASKS.names())


@pytest.mark.slow
@pytest.mark.parametrize("model", CASES)
def test_every_model_exports_to_every_format(model: str, tmp_path: Path) -> None:
    task, shape, targets = CASES[model]
    data = made_up(shape, targets, tokens=model == "transformer")
    run = sglr.train(
        "sfl", dataset=data, task=task, model=model, clients=2, epochs=1, batch_size=4, out=tmp_path / "run"
    )
    inputs = data.test.inputs
    wanted = sglr.load_model(run.path)(inputs).detach().numpy()
    for name in FORMATS:
        done = sglr.export(run, tmp_path / name, format=name)
        assert [file.metadata["segment"] for file in done.files] == ["client", "server", "joined"]
        exporter: Exporter = EXPORTERS.load(name)()
        found = exporter.load(done.path / f"joined{exporter.suffix}")(inputs).detach().numpy()
        assert found == pytest.approx(wanted, abs=1e-4)
        told = json.loads(exporter.metadata(done.path / f"client{exporter.suffix}"))
        assert told["input"]["dtype"] == str(inputs.dtype).removeprefix("torch.")
        assert told["task"]["name"] == task


@pytest.mark.slow
@pytest.mark.parametrize("compression", ["int4", "int2", "topk:0.2"])
def test_parts_one_after_the_other_are_the_network_that_was_trained(compression: str, tmp_path: Path) -> None:
    settings = {"dataset": "digits", "clients": 2, "epochs": 1, "samples_per_client": 60, "seed": 3}
    run = sglr.train("psl", model="mlp", tail="relu2", compression=compression, out=tmp_path / "run", **settings)
    done = sglr.export(run, tmp_path / "out", data="digits")
    names = ["client-0", "client-1", "server", "tail-0", "tail-1", "joined"]
    assert [file.name for file in done.files] == [f"{name}.onnx" for name in names]
    assert done.files[0].compared.samples > 100
    sessions = {name: onnxruntime.InferenceSession(done.path / f"{name}.onnx") for name in names}
    inputs = torch.rand(9, 1, 8, 8)
    outputs = []
    for client in range(2):
        values = inputs.numpy()
        for name in (f"client-{client}", "server", f"tail-{client}"):
            values = sessions[name].run(["output"], {"input": values})[0]
        wanted = sglr.load_model(run.path, client)(inputs).detach().numpy()
        assert values == pytest.approx(wanted, abs=1e-2)
        outputs.append(values)
    (joined,) = sessions["joined"].run(["output"], {"input": inputs.numpy()})
    assert joined == pytest.approx(np.mean(outputs, 0), abs=1e-2)


@pytest.mark.slow
def test_a_whole_model_is_one_file(tmp_path: Path) -> None:
    run = sglr.train("fl", dataset="digits", clients=2, epochs=1, samples_per_client=40, out=tmp_path / "run")
    assert [file.name for file in sglr.export(run, tmp_path / "all", format="torch").files] == ["joined.pt2"]
    done = sglr.export(run, tmp_path / "client", format="torch", segment="client")
    assert [file.name for file in done.files] == ["joined.pt2"]
    with pytest.raises(sglr.UsageError, match="the server holds no layers"):
        sglr.export(run, tmp_path / "server", segment="server")


@pytest.mark.slow
def test_the_guide_s_commands_and_code_run_as_a_stranger_runs_them(tmp_path: Path) -> None:
    guide = (ROOT / "docs/export.md").read_text(encoding="utf-8")
    with serving() as hub:
        environment = {**os.environ, "HF_ENDPOINT": hub.address, "HF_TOKEN": "hf_secret"}
        for language, block in re.findall(r"^```(sh|python)\n(.*?)^```", guide, re.DOTALL | re.MULTILINE):
            if "executorch" in block and "executorch" not in FORMATS:
                continue
            command = ["-c", block]
            for line in block.splitlines() if language == "sh" else [""]:
                words = ["-m", *line.split()] if line else command
                told = subprocess.run(
                    [sys.executable, *words], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
                )
                assert told.returncode == 0, f"{words}: {told.stderr}"
            assert language == "sh" or "import sglr" not in block
    assert {"README.md", "MODEL.md", "joined.onnx", "export.json"} <= hub.files.keys()
    assert hub.files["README.md"] == hub.files["MODEL.md"]
