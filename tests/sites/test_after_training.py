"""A user's story: train between three sites, watch it, predict at a site, export its part, find it in a tracker."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_breast_cancer

from .test_serve import free_address

SGLR = [sys.executable, "-m", "sglr"]


def tables(folder: Path) -> tuple[list[Path], pd.DataFrame]:
    """Write a table for each of three hospitals, and one of new patients without outcomes; return the latter's too."""
    found = load_breast_cancer(as_frame=True)
    frame = found.data.iloc[:, :8].assign(outcome=np.where(found.target == 1, "benign", "malignant"))
    frame = frame.assign(patient=[f"p{row}" for row in range(len(frame))])
    own = [folder / f"hospital{number}.csv" for number in range(3)]
    for number, path in enumerate(own):
        frame.iloc[:480].iloc[number::3].drop(columns="patient").to_csv(path, index=False)
    new = frame.iloc[480:]
    new.drop(columns="outcome").to_csv(folder / "new.csv", index=False)
    return own, new


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the tracker's own libraries
def test_train_watch_predict_export_and_track(tmp_path: Path) -> None:
    pytest.importorskip("mlflow")
    own, new = tables(tmp_path)
    schema = subprocess.run(
        [*SGLR, "schema", own[0], "--label-column", "outcome"], capture_output=True, text=True, check=True
    )
    (tmp_path / "schema.toml").write_text(schema.stdout)
    run, tokens, store = tmp_path / "run", tmp_path / "tokens", f"sqlite:///{tmp_path / 'mlflow.db'}"
    address, page = free_address(), free_address()
    flags = (
        f"--task binary --schema {tmp_path / 'schema.toml'} --method sglr --model mlp --clients 3 --epochs 4 --lr 0.01 "
        f"--listen {address} --address {address} --out {run} --tokens {tokens} --page {page} "
        f"--track mlflow:uri={store},experiment=tumours --device cpu --json"
    )
    with _process("serve", *flags.split()) as server:
        sites, seen = [], ""
        try:
            for number, table in enumerate(own):
                token = _waited_for(tokens / f"client-{number}.token", server)
                where = ["--data", str(table), "--out", str(tmp_path / f"site{number}"), "--device", "cpu"]
                sites.append(_process("join", address, "--token", token, *where))
            with urllib.request.urlopen(f"http://{page}/events", timeout=60) as stream:
                while "client" not in seen:
                    seen = stream.readline().decode()
            printed, errors = server.communicate(timeout=240)
            assert server.returncode == 0, errors
            for site in sites:
                _, told = site.communicate(timeout=60)
                assert site.returncode == 0, told
        finally:
            _end(server, *sites)
    assert json.loads(printed)["test"]["auroc"] > 0.9

    answers = tmp_path / "predictions.parquet"
    listening = ["--predict", "--listen", address, "--address", address]
    with _process("serve", str(run), *listening) as served:
        try:
            _asked(address, tmp_path / "site1", tmp_path / "new.csv", answers, served)
        finally:
            _end(served)
    table = pd.read_parquet(answers)
    assert list(table["id"]) == list(new["patient"])
    assert (table["class"] == new["outcome"].to_numpy()).mean() > 0.85
    assert "outcome" not in table and "target" not in table

    part, segment = tmp_path / "part", next((tmp_path / "site1").rglob("segment.safetensors"))
    exported = subprocess.run(
        [*SGLR, "export", run, "--client", "1", "--segment-file", segment, "--out", part, "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert exported.returncode == 0, exported.stderr
    _check_exported(part, segment, new, run, table)
    _check_tracked(store)


def _asked(address: str, site: Path, data: Path, out: Path, served: subprocess.Popen[str]) -> None:
    """Predict at a site, as soon as the server answers."""
    words = [*SGLR, "predict", address, "--folder", site, "--data", data, "--id-column", "patient", "--out", out]
    until = time.monotonic() + 120
    while True:
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return
        assert served.poll() is None, served.communicate()
        assert time.monotonic() < until, done.stderr
        time.sleep(0.5)


def _check_exported(part: Path, segment: Path, new: pd.DataFrame, run: Path, table: pd.DataFrame) -> None:
    """Hold the exported client's and server's layers, run by another library, against what the site was told."""
    import onnxruntime

    import sglr

    client, server = (next(part.glob(f"*{name}*.onnx")) for name in ("client", "server"))
    network = sglr.Run.open(run).network(1, segment=segment)
    values = network.read(new.drop(columns=["patient", "outcome"])).inputs[:].numpy()
    for file in (client, server):
        session = onnxruntime.InferenceSession(file)
        (values,) = session.run(None, {session.get_inputs()[0].name: values})
    np.testing.assert_allclose(1 / (1 + np.exp(-values[:, 0])), table["probability_malignant"], rtol=1e-3, atol=1e-5)


def _check_tracked(store: str) -> None:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(store)
    experiment = client.get_experiment_by_name("tumours")
    assert experiment is not None
    (tracked,) = client.search_runs([experiment.experiment_id])
    assert tracked.info.status == "FINISHED"
    assert len(client.get_metric_history(tracked.info.run_id, "loss")) == 4
    assert tracked.data.metrics["test/auroc"] > 0.9


def _process(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen([*SGLR, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _end(*processes: subprocess.Popen[str]) -> None:
    for process in processes:
        if process.poll() is None:
            process.terminate()
            try:
                process.communicate(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()


def _waited_for(file: Path, server: subprocess.Popen[str]) -> str:
    until = time.monotonic() + 120
    while not file.is_file():
        assert server.poll() is None, server.communicate()[1]
        assert time.monotonic() < until
        time.sleep(0.1)
    return file.read_text().strip()
