"""The whole of it through the commands: train between sites, serve the trained run, predict at a site."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pandas as pd
import pytest
import torch

import sglr
from sglr.data.load import load_dataset

from .test_processes import FLAGS, Processes, processes, until  # noqa: F401 - a fixture
from .test_serve import free_address

pytestmark = pytest.mark.slow

TERMS = ("--method", "psl", "--tail", "relu2", "--compression", "int8", "--epochs", 3)


def test_a_site_predicts_with_what_it_trained(processes: Processes, tmp_path: Path) -> None:  # noqa: F811
    address = free_address()
    server = processes.start("server", "serve", *FLAGS, *TERMS, "--listen", address, "--out", "run", "--tokens", "t")
    until(lambda: (tmp_path / "t" / "client-1.token").is_file(), "the tokens")
    sites = [
        processes.start(
            f"site-{client}",
            *("join", address, f"--token=@t/client-{client}.token", "--dataset", "digits", "--device", "cpu"),
            *("--partition", f"{client}/2", "--out", f"site-{client}"),
        )
        for client in range(2)
    ]
    assert [one.wait(200) for one in (server, *sites)] == [0, 0, 0], processes.said("server")

    words = ("serve", "run", "--predict", "--listen", address, "--device", "cpu", "--json")
    predicting = processes.start("predicting", *words)
    until(lambda: (tmp_path / "run" / "predicting.json").is_file(), "the server of predictions")
    ask = ("predict", address, "--data", "digits", "--device", "cpu")
    assert processes.start("one", *ask, "--folder", "site-1", "--out", "one.parquet").wait(100) == 0, processes.said(
        "one"
    )
    found = pd.read_parquet(tmp_path / "one.parquet")
    whole = sglr.load_model(tmp_path / "run", segment=tmp_path / "site-1" / "segment.safetensors")
    inputs = load_dataset("digits", None, {}).test.inputs
    with torch.no_grad():
        wanted = whole(torch.as_tensor(inputs)).softmax(1)
    columns = [name for name in found.columns if name.startswith("probability_")]
    torch.testing.assert_close(torch.tensor(found[columns].to_numpy()), wanted, rtol=1e-4, atol=1e-5, check_dtype=False)

    assert processes.start("revoke", "revoke", "run", "--client", 1).wait(60) == 0
    assert processes.start("two", *ask, "--folder", "site-1").wait(100) == 1
    assert "revoked" in processes.said("two")
    assert (
        processes.start("three", *ask, "--folder", "site-0", "--segment", "site-1/segment.safetensors").wait(100) == 0
    )
    predicting.send_signal(signal.SIGTERM)
    assert predicting.wait(60) == 0
    told = json.loads((tmp_path / "predicting.out").read_text())
    assert [one["samples"] for one in told["clients"]] == [len(inputs), len(inputs)]
    assert processes.start("late", *ask, "--folder", "site-0").wait(100) == 1
    assert "no connection" in processes.said("late")
