"""Getting a trained network back from its run folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import r2_score

import sglr
from sglr.data.load import load_dataset
from sglr.data.objects.read import settle_dataset

SETTINGS = {"dataset": "digits", "model": "mlp", "clients": 3, "epochs": 2, "samples_per_client": 100, "seed": 1}


@pytest.mark.parametrize(
    ("method", "compression"),
    [("psl", "none"), ("sfl", "none"), ("fl", "none"), ("psl", "topk:0.1"), ("sfl", "int8"), ("fl", "topk:0.1")],
)
def test_the_network_scores_what_the_summary_says(method: str, compression: str, tmp_path: Path) -> None:
    run = sglr.train(method, out=tmp_path / "run", compression=compression, **SETTINGS)
    test = load_dataset("digits", None).test
    scores = []
    for client in range(3):
        network = sglr.load_model(run.path, client)
        with torch.no_grad():
            scores.append(float((network(test.inputs).argmax(1) == test.targets).float().mean()))
    assert run.summary is not None
    assert sum(scores) / 3 == pytest.approx(run.summary["test"]["accuracy"], abs=1e-6)
    assert (len(set(scores)) == 1) == (method != "psl")


def test_a_network_of_numbers_is_in_the_units_of_the_schema(tmp_path: Path) -> None:
    age = np.arange(80.0)
    frame = pd.DataFrame({"age": age, "days": age * 2 + age % 3, "cost": -age})
    settings = {**SETTINGS, "dataset": frame, "label": "days,cost", "task": "regression", "samples_per_client": None}
    run = sglr.train("sfl", out=tmp_path / "run", **settings)
    dataset = settle_dataset(settings)["dataset"]
    mean, std = torch.tensor(dataset.targets.units).T
    with torch.no_grad():
        predicted = sglr.load_model(run.path)(dataset.test.inputs) * std + mean
    assert run.summary is not None
    assert run.summary["test"]["r2"] == pytest.approx(r2_score(dataset.test.targets, predicted), abs=1e-4)


def test_a_client_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    run = sglr.train("psl", out=tmp_path / "run", **{**SETTINGS, "epochs": 1})
    with pytest.raises(sglr.UsageError, match="3 clients"):
        sglr.load_model(run.path, 3)
    for path in (run.path / "checkpoints").iterdir():
        path.unlink()
    with pytest.raises(sglr.UsageError, match="has no checkpoint"):
        sglr.load_model(run.path)
