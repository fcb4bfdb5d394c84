"""Laws 1 and 2 for tasks whose targets are no classes of samples: with and without a tail, stacked and looped."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

import sglr
from sglr.core.data import Dataset, Samples
from sglr.core.task import Targets
from sglr.data.tokens import NOT_ASKED


@dataclass(frozen=True)
class Work:
    """What a task is trained on: settings, and where the server's segment ends if labels stay."""

    dataset: Dataset
    settings: dict[str, Any]
    tail: str

    def train(self, out: Path, method: str = "sglr", **settings: Any) -> dict[str, Any]:
        common = {"epochs": 1, "batch_size": 3, "clients": 1, "lr": 1e-2, "out": out}
        run = sglr.train(method, dataset=self.dataset, **{**common, **self.settings, **settings})
        assert run.summary is not None
        test: dict[str, Any] = run.summary["test"]
        return test


def measurements() -> Work:
    inputs = torch.randn(20, 5)
    targets = torch.stack([100 + 20 * inputs[:, 0], inputs[:, 1] - inputs[:, 2]], 1)
    kind = Targets(("days", "units"), (2,), "float32")
    data = Dataset("drawn", Samples(inputs[:14], targets[:14]), Samples(inputs[14:], targets[14:]), targets=kind)
    return Work(data, {"task": "regression", "loss": "huber:1", "model": "mlp"}, "relu2")


def masks() -> Work:
    inputs = torch.randn(12, 1, 8, 9)
    targets = (inputs[:, 0] > 0).to(torch.uint8)
    targets[:, 0] = 255
    kind = Targets(("dark", "bright"), (8, 9), "uint8", 2)
    data = Dataset("drawn", Samples(inputs[:8], targets[:8]), Samples(inputs[8:], targets[8:]), targets=kind)
    settings = {"task": "segmentation", "ignore_index": 255, "loss": "dice_cross_entropy", "model": "fcn"}
    return Work(data, settings, "relu5")


def texts() -> Work:
    tokens = torch.arange(12).unsqueeze(1).add(torch.arange(6)) % 5
    following = (tokens + 1) % 5
    following[:, -1] = NOT_ASKED
    data = Dataset(
        "counted",
        Samples(tokens[:8], following[:8]),
        Samples(tokens[8:], following[8:]),
        targets=Targets(shape=(6,), classes=5),
    )
    return Work(data, {"task": "language", "model": "transformer"}, "block3")


@pytest.fixture(params=[measurements, masks, texts], ids=lambda make: make.__name__)
def work(request: pytest.FixtureRequest) -> Work:
    torch.manual_seed(0)
    made: Work = request.param()
    return made


def test_with_one_client_it_makes_no_difference_where_layers_and_labels_are(work: Work, tmp_path: Path) -> None:
    whole = work.train(tmp_path / "cl", "cl")
    assert math.isfinite(whole[whole["headline"]])
    tail = {"method": "psl", "tail": work.tail}
    for found in (work.train(tmp_path / "sglr"), work.train(tmp_path / "tail", **tail)):
        assert found.keys() == whole.keys()
        assert_same(found, whole)


def test_it_makes_no_difference_whether_clients_are_stacked(work: Work, tmp_path: Path) -> None:
    looped = work.train(tmp_path / "looped", clients=3, stacking="looped")
    assert_same(work.train(tmp_path / "stacked", clients=3, stacking="stacked"), looped)


def assert_same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    for name in ("loss", expected["headline"]):
        assert found[name] == pytest.approx(expected[name], rel=1e-3, abs=1e-4)
