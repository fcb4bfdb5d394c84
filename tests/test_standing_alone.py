"""Users' stories: a run's folder tells the whole network, wherever it and the data went."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import sglr
from sglr.core.errors import Interrupted, UsageError
from sglr.core.server_protocol import Server
from sglr.core.types import Downlink, StepContext, Uplink
from sglr.runs.data_record import DATA, DataRecord

TINY: dict[str, Any] = {"clients": 3, "epochs": 1, "model": "mlp", "validation": 10}


def table(folder: Path, rows: int = 120) -> Path:
    """Write a table of two columns and a label."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"age": rng.normal(50, 9, rows), "city": rng.choice(["Bern", "Rom"], rows)})
    frame["ill"] = np.where(frame["age"] > 50, "yes", "no")
    frame.to_csv(folder / "patients.csv", index=False)
    return folder / "patients.csv"


def answers(network: nn.Module, shape: tuple[int, ...]) -> Tensor:
    with torch.no_grad():
        out: Tensor = network(torch.linspace(-1, 1, 4 * torch.Size(shape).numel()).reshape(4, *shape))
    return out


def network(input_shape: tuple[int, ...], classes: int) -> nn.Module:
    width = torch.Size(input_shape).numel()
    return nn.Sequential(nn.Flatten(), nn.Linear(width, 8), nn.Tanh(), nn.Linear(8, classes))


@dataclass(frozen=True)
class Sharing(sglr.Method):
    """A method of one's own that shares client segments."""

    shares = True

    def exchange(self, server: Server, uplink: Uplink, context: StepContext) -> Downlink:
        return Downlink(server.learn(uplink, context, context.server_rate))


@pytest.mark.parametrize("method", ["psl", "sfl", "fl", "cl", "sflv1"])
def test_without_the_file_from_another_folder_the_network_is_the_same(method, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    table(tmp_path)
    run = sglr.train(method, dataset="table:patients.csv", label_column="ill", out="run", **TINY)
    there = [answers(sglr.load_model("run", client), (3,)) for client in range(1 if method == "cl" else 3)]
    (tmp_path / "patients.csv").unlink()
    (elsewhere := tmp_path / "elsewhere").mkdir()
    shutil.move(run.path.absolute(), elsewhere / "moved")
    monkeypatch.chdir(elsewhere)
    for client, before in enumerate(there):
        assert torch.equal(answers(sglr.load_model("moved", client), (3,)), before)
    record = sglr.Run.open(Path("moved")).data
    assert record is not None
    assert (record.input_shape, record.classes, record.clients) == ((3,), ("no", "yes"), 3)
    assert record.encoding  # the schema, with what columns are standardised by


def test_parts_that_were_objects_are_not_needed_or_asked_for_by_name(tmp_path) -> None:
    inputs = torch.randn(200, 5, generator=torch.Generator().manual_seed(0))
    samples = sglr.Samples(inputs, (inputs[:, 0] > 0).long())
    data = sglr.Dataset("signs", samples, samples, ("negative", "positive"))
    settings = {**TINY, "model": network, "cut": 2, "dataset": data}
    run = sglr.train(Sharing(), out=tmp_path / "run", **settings)
    with pytest.raises(
        UsageError, match=r"model = <network>: was given as a Python object; .*load_model\(path, model="
    ):
        sglr.load_model(run.path)
    one, other = (sglr.load_model(run.path, client, model=network) for client in (0, 2))
    assert torch.equal(answers(one, (5,)), answers(other, (5,)))
    with torch.no_grad():
        accuracy = float((one(inputs).argmax(1) == samples.targets).double().mean())
    assert accuracy == pytest.approx(run.summary["test"]["accuracy"])


@pytest.mark.parametrize("settings", [{"tail": "relu2"}, {"client_store": "disk", "participation": 0.5}])
def test_tails_and_clients_on_disk(settings, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = sglr.train("psl", dataset="digits", out=tmp_path / "run", **{**TINY, "clients": 4, **settings})
    before = answers(sglr.load_model(run.path, 3), (1, 8, 8))
    (run.path / DATA).rename(tmp_path / "kept.json")  # as in a run of before: built from the data
    assert torch.equal(answers(sglr.load_model(run.path, 3), (1, 8, 8)), before)


def test_a_run_goes_on_and_is_measured_from_another_folder(tmp_path, monkeypatch) -> None:
    (place := tmp_path / "here").mkdir()
    table(place)
    monkeypatch.chdir(place)
    settings = {**TINY, "epochs": 2, "dataset": "table:patients.csv", "label_column": "ill"}
    whole = sglr.train("psl", out=place / "whole", **settings)
    asked = iter(range(10**6))
    with pytest.raises(Interrupted):
        sglr.train("psl", out="run", stop=lambda: next(asked) > 3, **settings)
    monkeypatch.chdir(tmp_path)
    run = sglr.resume("here/run")
    assert run.summary["weights_sha256"] == whole.summary["weights_sha256"]
    assert sglr.leak("here/run", measures=["distance_correlation"], samples=20)["conditions"]
    (place / "patients.csv").unlink()
    with pytest.raises(UsageError, match=r"dataset = .*patients.csv: the run was trained on it, and it is no longer"):
        sglr.leak("here/run")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"input_shape": [1 << 30, 8]}, "more than"),
        ({"input_shape": [0]}, "a size below 1"),
        ({"input_shape": "x"}, "input_shape"),
        ({"dtype": "object"}, "dtype"),
        ({"classes": []}, "classes"),
        ({"clients": 7}, "was written for 7 clients"),
        ({"method": {"shares": "os.system"}}, "method.shares"),
        ({"cut": "__class__"}, "cut = __class__"),
        ({"cut": None}, "cut"),
    ],
)
def test_a_record_that_says_what_no_run_says_is_refused(changes, told, once, tmp_path) -> None:
    trained = once("standing alone", lambda path: sglr.train("psl", dataset="digits", out=path, **TINY))
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    path = run / DATA
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    with pytest.raises(UsageError, match=told):
        sglr.load_model(run)


@given(content=st.binary(max_size=200))
def test_rubbish_is_refused(content, tmp_path_factory) -> None:
    path = tmp_path_factory.mktemp("run") / DATA
    assert DataRecord.read(path) is None
    path.write_bytes(content)
    with pytest.raises(UsageError, match="is damaged"):
        DataRecord.read(path)
    path.write_bytes(b"[" * 100_000)
    with pytest.raises(UsageError, match="is damaged"):
        DataRecord.read(path)


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"classes": ["a"], "targets": {"shape": [2], "dtype": "float32"}},
        {"classes": ["a", "b"], "targets": {"classes": 2}},
        {"targets": {"shape": [1 << 20, 1 << 20], "dtype": "float32"}},
        {"targets": {"shape": [2], "classes": 1 << 20}},
        {"targets": {"dtype": "object"}},
    ],
)
def test_a_record_whose_targets_contradict_themselves_is_damaged(told: dict[str, Any], tmp_path: Path) -> None:
    content = {"input_shape": [4], "dtype": "float32", "clients": 2, "cut": 1, **told}
    (tmp_path / DATA).write_text(json.dumps(content))
    with pytest.raises(UsageError, match="is damaged"):
        DataRecord.read(tmp_path / DATA)
