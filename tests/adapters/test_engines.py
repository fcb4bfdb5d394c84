"""Adapters on a cluster give the weights of one process; between sites, tests/sites/test_parity.py compares them."""

from __future__ import annotations

import copy
import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import sglr
from sglr.adapters import Lora
from sglr.adapters.inject import inject
from sglr.core.weights import state_of

SETTINGS: dict[str, Any] = {
    "dataset": "digits",
    "model": "mlp",
    "clients": 3,
    "samples_per_client": 60,
    "epochs": 2,
    "threads": 1,
    "lora": "r=4,alpha=8",
    "init": "independent",
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
@pytest.mark.parametrize("method", ["sglr", "sflv1"])
def test_blocks_in_other_processes_hold_the_same_adapters(tmp_path: Path, method: str) -> None:
    options = {"init": "common"} if method == "sflv1" else {}
    runs = [sglr.train(method, out=tmp_path / on, engine=on, **SETTINGS | options) for on in ("local", "ray")]
    assert len({run.summary["frozen_sha256"] for run in runs}) == 1
    assert len({run.summary["communication"]["up_bytes"] for run in runs}) == 1
    for client in range(3):
        here, there = (sglr.load_model(run.path, client) for run in runs)
        for side in ("client", "server"):
            ours, theirs = (state_of(getattr(network, side)) for network in (here, there))
            for name in ours:
                torch.testing.assert_close(ours[name], theirs[name], rtol=1e-4, atol=1e-6)


def test_a_process_without_peft_imports_it_with_the_first_layer_that_arrives() -> None:
    layer = nn.Sequential(nn.Linear(3, 2), nn.Tanh())
    inject(layer, Lora(r=1), ["0"])
    inputs = torch.ones(1, 3)
    code = "import pickle, sys, torch; print(pickle.load(sys.stdin.buffer)(torch.ones(1, 3)).tolist())"
    found = subprocess.run([sys.executable, "-c", code], input=pickle.dumps(layer), capture_output=True, check=True)
    assert json.loads(found.stdout) == layer(inputs).tolist()
    assert torch.equal(copy.deepcopy(layer)(inputs), layer(inputs))
