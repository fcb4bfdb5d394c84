"""A task of the user's own: as an object, and by the name of its class."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

import sglr
from sglr.core.task import Sums

SMALL: dict[str, Any] = {"clients": 2, "samples_per_client": 16, "epochs": 1, "model": "mlp", "test_samples": 30}

SOURCE = '''
from dataclasses import dataclass
import sglr

class Halved(sglr.Classification):
    """Half of the cross-entropy."""

    def losses(self, outputs, targets):
        return super().losses(outputs, targets) / 2

def number():
    return 3

def broken():
    raise RuntimeError("no such thing")
'''


@dataclass(frozen=True)
class Angle(sglr.Task):
    """Class numbers of digits as angles: the squared distance of unit vectors."""

    headline: ClassVar[str] = "distance"
    higher_is_better: ClassVar[bool] = False

    def check(self, targets: sglr.Targets) -> None:
        """Take anything."""

    def outputs(self, targets: sglr.Targets) -> int:
        """Return 2: sine and cosine."""
        return 2

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the squared distance to the target's point on the circle."""
        angle = targets * (2 * math.pi / 10)
        return (outputs - torch.stack([angle.sin(), angle.cos()], -1)).square().sum(-1)

    def sums(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Add up distances."""
        distance = self.losses(outputs, targets[None].expand(len(outputs), -1))
        return {"distance": distance.sum(1), "samples": torch.full((len(outputs),), float(len(targets)))}

    def scores(self, sums: Sums) -> dict[str, Tensor]:
        """Return the mean distance."""
        return {"distance": sums["distance"] / sums["samples"]}


def test_an_object_trains_is_told_in_the_summary_and_loads_when_given_again(tmp_path: Path) -> None:
    run = sglr.train("sglr", task=Angle(), out=tmp_path / "run", **SMALL)
    test = run.summary["test"]
    assert (test["headline"], test["higher_is_better"]) == ("distance", False)
    assert test["distance"] == pytest.approx(test["loss"], rel=1e-5)
    low, high = (test["scores"]["distance"][bound] for bound in ("low", "high"))
    assert low < test["distance"] < high
    record = run.history[-1]
    assert "train_accuracy" not in record and record["validation_distance"] == pytest.approx(record["validation_loss"])
    assert run.summary["validation"]["best_epoch"] == 1
    with pytest.raises(sglr.UsageError, match="give it again"):
        sglr.load_model(run.path)
    assert sglr.load_model(run.path, task=Angle())(torch.zeros(1, 1, 8, 8)).shape == (1, 2)


def test_label_frequencies_are_left_alone_where_outputs_are_no_logits_of_the_classes() -> None:
    """There are ten classes, and two outputs."""
    default, plain = (sglr.train("sglr2", task=Angle(), **own, **SMALL) for own in ({}, {"label_prior": "ignore"}))
    assert default.summary["weights_sha256"] == plain.summary["weights_sha256"]
    with pytest.raises(sglr.UsageError, match=r"the task angle has outputs of the shape \[2\] for 10 classes"):
        sglr.train("psl", task=Angle(), label_prior="own", **SMALL)


def test_a_class_is_found_by_its_name_and_is_not_imported_for_who_did_not_name_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_tasks.py").write_text(SOURCE)
    run = sglr.train("psl", task="own_tasks:Halved", out="run", **SMALL)
    plain = sglr.train("psl", out="plain", **SMALL)
    assert run.summary["test"]["loss"] != plain.summary["test"]["loss"]
    assert run.history[0]["loss"] < 0.75 * plain.history[0]["loss"]
    opened = "import sglr; sglr.load_model('run'{}); print('opened')"
    for given, found in (("", "names this code"), (", task='own_tasks:Halved'", "opened")):
        command = [sys.executable, "-c", opened.format(given)]
        told = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert found in told.stdout + told.stderr


@pytest.mark.parametrize(
    ("name", "problem"), [("Halve", "no function"), ("number", "it makes a int"), ("broken", "no such thing")]
)
def test_what_makes_no_task_is_refused(
    name: str, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_things.py").write_text(SOURCE)
    with pytest.raises(sglr.UsageError, match=problem):
        sglr.train("psl", task=f"own_things:{name}", out="run", **SMALL)
    assert not (tmp_path / "run").exists()
