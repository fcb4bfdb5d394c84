"""Attacks, measures and defences that need a class of each sample refuse other tasks by name, before any work."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

import sglr
from sglr.core.data import Dataset, Samples
from sglr.core.errors import UsageError
from sglr.core.registry import ATTACKS, DEFENCES
from sglr.core.task import Serves, Targets
from sglr.leakage.attack_clients import choose_attack
from sglr.leakage.leak import refuse_what_does_not_serve
from sglr.leakage.measure_clients import MEASURES, Wanted, measure_client, serves
from sglr.leakage.open_run import open_run
from sglr.privacy.attack import Attack
from sglr.privacy.target import Target
from sglr.tasks.classification import Classification
from sglr.tasks.regression import Regression
from sglr.tasks.segmentation import Segmentation

from .conftest import allow, quick


@pytest.mark.parametrize("name", [*ATTACKS.names(), *DEFENCES.names()])
def test_every_part_says_which_tasks_it_serves(name: str) -> None:
    part = ATTACKS.load(name) if name in ATTACKS.names() else DEFENCES.load(name)
    assert isinstance(part.serves, Serves)
    part.serves.require("part", name, Classification(), torch.zeros(2, dtype=torch.int64))


@pytest.mark.parametrize("name", [name for name in ATTACKS.names() if issubclass(ATTACKS.load(name), Attack)])
def test_an_attack_serves_measurements_or_refuses_them_by_name(name: str, digits: Target) -> None:
    attack = quick(ATTACKS.load(name))
    own = Samples(digits.own.inputs, digits.own.targets.float())
    measured = allow(digits, attack, task=_SumsOfOutputs(), own=own)
    if attack.serves is Serves.ANY:
        assert attack(measured).score.samples > 0
    else:
        with pytest.raises(UsageError, match=f"{type(attack).__name__}: it serves .*learns _sumsofoutputs"):
            attack(measured)


class _SumsOfOutputs(Regression):
    """Measurements predicted by the sum of ten outputs, those of the network at hand."""

    def losses(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return (outputs.sum(1) - targets).square()


def test_a_measure_that_does_not_serve_a_task_is_missing_with_the_reason(digits: Target) -> None:
    tokens = dataclasses.replace(
        digits, task=Regression(), own=Samples(torch.ones(40, 5, dtype=torch.int64), torch.zeros(40))
    )
    found = measure_client(tokens, Wanted())
    assert set(found.missing) == set(MEASURES)
    assert "numbers of tokens" in found.missing["mutual_information"]
    assert str(serves("label_inference_accuracy")) in found.missing["label_inference_accuracy"]


def measurements(samples: int = 96) -> Dataset:
    inputs = torch.randn(samples, 4, generator=torch.Generator().manual_seed(0))
    part = Samples(inputs, inputs.sum(1))
    return Dataset("measured", part, part, targets=Targets(dtype="float32"))


SETTINGS: dict[str, Any] = {"task": "regression", "model": "mlp", "clients": 2, "epochs": 1, "batch_size": 32}


@pytest.mark.parametrize("defence", [name for name in DEFENCES.names() if DEFENCES.load(name).serves is not Serves.ANY])
def test_a_defence_of_labels_is_refused_before_anything_is_written(tmp_path: Path, defence: str) -> None:
    with pytest.raises(UsageError, match=f"{defence}: it serves tasks in which each sample has one class"):
        sglr.train("psl", dataset=measurements(), defence=defence, out=tmp_path / "run", **SETTINGS)
    assert not (tmp_path / "run").exists()


def test_what_does_not_serve_a_run_is_refused_before_a_client_is_opened(tmp_path: Path) -> None:
    run = sglr.train("psl", dataset="digits", model="mlp", clients=2, epochs=1, batch_size=64, out=tmp_path / "run")
    built = dataclasses.replace(open_run(run).built, task=Regression())
    with pytest.raises(UsageError, match="membership: it serves the task classification"):
        refuse_what_does_not_serve(built, Wanted(()), [choose_attack("membership")])
    with pytest.raises(UsageError, match="label_inference_accuracy: it serves tasks in which"):
        refuse_what_does_not_serve(built, Wanted(("label_inference_accuracy",), strict=True), [])


@pytest.mark.parametrize(
    ("task", "targets", "served"),
    [
        (Classification(), Targets.of_classes(("a", "b")), set(Serves)),
        (Regression(), Targets(dtype="float32"), {Serves.ANY}),
        (Segmentation(), Targets(shape=(4, 4), dtype="uint8", classes=2), {Serves.ANY}),
    ],
)
def test_what_fits_a_task_follows_from_its_classes(task: Any, targets: Targets, served: set[Serves]) -> None:
    assert {each for each in Serves if each.fit(task, targets.example())} == served
