"""Every tracker with its real library, offline: a run that stops and goes on is one run there, with each epoch once."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import sglr
from sglr.core.events import StepDone
from sglr.runs.folder import Run
from sglr.runs.tracker import figures

SETTINGS: dict[str, Any] = {
    "clients": 2,
    "samples_per_client": 16,
    "test_samples": 40,
    "validation": 20,
    "epochs": 3,
    "model": "mlp",
}

pytestmark = pytest.mark.slow


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Run]:
    """Train with a tracker, stop in the third epoch, and resume."""
    monkeypatch.chdir(tmp_path)

    def train(track: str) -> Run:
        steps: list[StepDone] = []
        with pytest.raises(sglr.Interrupted):
            sglr.train(
                "psl",
                out="run",
                name="digits-1",
                track=track,
                observe=lambda event: steps.append(event) if isinstance(event, StepDone) else None,
                stop=lambda: len(steps) == 5,
                **SETTINGS,
            )
        told = json.loads(Path("run/trackers.json").read_text())
        assert [one["epochs"] for one in told.values()] == [2]
        return sglr.resume("run")

    return train


def curves(run: Run) -> dict[str, list[tuple[int, float]]]:
    """What a tracker is to hold: every figure over epochs."""
    names = figures(run.history[0])
    return {
        name: [(record["epoch"], pytest.approx(record[name], rel=1e-6)) for record in run.history] for name in names
    }


def test_tensorboard_holds_every_epoch_once(trained: Callable[[str], Run]) -> None:
    run = trained("tensorboard:dir=boards")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator("boards/digits-1").Reload()
    for name, wanted in curves(run).items():
        assert [(event.step, event.value) for event in found.Scalars(name)] == wanted
    assert run.summary is not None
    assert found.Scalars("test/accuracy")[0].value == pytest.approx(run.summary["test"]["accuracy"])
    assert b'"method": "psl"' in found.Tensors("settings/text_summary")[0].tensor_proto.string_val[0]
    for number, name in enumerate(["digits-1", "../digits/1"]):  # a name is free text
        sglr.train("psl", out=f"other{number}", name=name, track="tensorboard:dir=boards", **SETTINGS)
    assert sorted(path.name for path in Path("boards").iterdir()) == ["digits-1", "digits-1-2", "digits-1-3"]


def test_mlflow_holds_every_epoch_once_with_artefacts(trained: Callable[[str], Run]) -> None:
    run = trained("mlflow:uri=sqlite:///store.db,experiment=split learning,artefacts=all")
    from mlflow import MlflowClient

    client = MlflowClient("sqlite:///store.db")
    (there,) = client.search_runs([client.get_experiment_by_name("split learning").experiment_id])
    assert (there.info.run_name, there.info.status) == ("digits-1", "FINISHED")
    assert (there.data.params["method"], there.data.params["clients"]) == ("psl", "2")
    for name, wanted in curves(run).items():
        assert [(one.step, one.value) for one in client.get_metric_history(there.info.run_id, name)] == wanted
    assert run.summary is not None
    assert there.data.metrics["test/accuracy"] == run.summary["test"]["accuracy"]
    sent = {artefact.path for artefact in client.list_artifacts(there.info.run_id)}
    assert sent == {"report.html", "summary.json", "best.safetensors", run.checkpoints[-1].name}


def test_a_server_of_mlflow_that_is_down_costs_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    run = sglr.train("psl", out=tmp_path / "run", track="mlflow:uri=http://127.0.0.1:9", **SETTINGS)
    assert run.summary is not None
    assert sum("the tracker mlflow failed" in record.getMessage() for record in caplog.records) == 1


def test_wandb_writes_every_epoch_once_for_its_sync(trained: Callable[[str], Run]) -> None:
    run = trained("wandb:mode=offline,project=digits,artefacts=report")
    from wandb.proto import wandb_internal_pb2

    files = sorted(run.path.glob("wandb/offline-run-*/run-*.wandb"))
    assert len(files) == 2  # before and after the stop
    assert len({path.name for path in files}) == 1  # and one run for wandb sync
    history: dict[str, list[tuple[int, float]]] = {name: [] for name in curves(run)}
    config, summary = {}, {}
    for content in (content for path in files for content in _records(path)):
        record = wandb_internal_pb2.Record.FromString(content)
        if record.HasField("run"):
            config |= {item.key: json.loads(item.value_json) for item in record.run.config.update}
        row = {item.key or item.nested_key[0]: json.loads(item.value_json) for item in record.history.item}
        for name in history.keys() & row.keys():
            history[name].append((row["epoch"], row[name]))
        summary |= {(item.key or "/".join(item.nested_key)): item.value_json for item in record.summary.update}
    assert history == curves(run)
    assert (config["method"], config["clients"]) == ("psl", 2)
    assert run.summary is not None
    assert json.loads(summary["test/accuracy"]) == run.summary["test"]["accuracy"]


def _records(path: Path) -> list[bytes]:
    """Read the records of a file of wandb's: a LevelDB log, with blocks of 32 kB after a header of 7 bytes."""
    content, place, records, whole = path.read_bytes(), 7, [], b""
    while place < len(content):
        if 32768 - place % 32768 < 7:
            place += 32768 - place % 32768
        size, kind = int.from_bytes(content[place + 4 : place + 6], "little"), content[place + 6]
        whole += content[place + 7 : place + 7 + size]
        place += 7 + size
        if kind in (1, 4):  # whole, or its last part
            records.append(whole)
            whole = b""
    return records


def test_trackio_holds_every_epoch_once(
    trained: Callable[[str], Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    trackio = pytest.importorskip("trackio", reason="it refuses the pillow of constraints.txt")
    run = trained("trackio:project=digits")
    (there,) = trackio.Api().runs("digits")
    assert there.name.startswith("digits-1-")
    assert there.config["method"] == "psl"
    from trackio.sqlite_storage import SQLiteStorage

    rows = SQLiteStorage.get_logs("digits", there.name)
    found = {name: [(row["step"], row[name]) for row in rows if name in row] for name in curves(run)}
    assert found == curves(run)
