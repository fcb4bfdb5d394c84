"""SGLR 2: SGLR's gradients and server, a slower client, and priors where they can be had."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import sglr
from sglr.core.errors import UsageError
from sglr.core.registry import METHODS
from sglr.parties.training_loss import TrainingLoss
from sglr.tasks.binary import Binary

SETTINGS = {"dataset": "digits", "clients": 4, "samples_per_client": 32, "epochs": 2, "model": "mlp", "threads": 1}


def test_a_client_steps_by_a_part_of_the_rate_that_falls_with_the_number_of_clients(case) -> None:
    """With plain SGD, weights after one step differ from the first by rate · |C|^−γ · gradient."""
    plain, slow, half = (
        case(METHODS.load("sglr2")(gamma=gamma, phi=0.0), sizes=(4,) * 4, batch=4, epochs=1, optimizer="sgd")
        for gamma in (0.0, 1.0, 0.5)
    )
    first = [tensor.clone() for tensor in plain.build().engine.collect((0, 1, 2, 3)).values()]
    moved = [
        [after - before for after, before in zip(one.run().engine.collect((0, 1, 2, 3)).values(), first, strict=True)]
        for one in (plain, slow, half)
    ]
    for whole, quarter, two in zip(*moved, strict=True):
        torch.testing.assert_close(quarter, whole / 4, rtol=1e-4, atol=1e-7)
        torch.testing.assert_close(two, whole / 2, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("sizes", [(8, 8, 8), (11, 7, 3)])
def test_without_slowness_and_priors_it_is_sglr_bit_for_bit(case, state_of, sizes) -> None:
    options = {"sizes": sizes, "optimizer": "adam", "seed": 2}
    one, other = (case(METHODS.load(name)(**own), **options) for name, own in (("sglr2", {"gamma": 0.0}), ("sglr", {})))
    for name, tensor in state_of(one.run()).items():
        assert torch.equal(tensor, state_of(other.run())[name])


def test_priors_are_relative_where_the_server_has_classes_and_left_out_where_there_are_none() -> None:
    auto, told = (sglr.train("sglr2", **SETTINGS, **own) for own in ({}, {"label_prior": "relative"}))
    assert auto.experiment.label_prior == "auto"
    assert auto.summary["weights_sha256"] == told.summary["weights_sha256"]
    rng = np.random.default_rng(0)
    numbers = sglr.Samples(
        torch.from_numpy(rng.normal(size=(60, 4))).float(), torch.from_numpy(rng.normal(size=60)).float()
    )
    data = sglr.Dataset("numbers", numbers, numbers, ())
    own = {"clients": 3, "epochs": 1, "task": "regression", "model": "mlp"}
    results = [sglr.train("sglr2", dataset=data, **own, label_prior=prior) for prior in ("auto", "ignore")]
    assert results[0].summary["weights_sha256"] == results[1].summary["weights_sha256"]


def graded(**own: object) -> sglr.Run:
    """Train on samples of four grades, most of them in the middle."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(90, 5)).astype("float32")
    grades = np.clip((rows[:, 0] + 1.5).round(), 0, 3).astype(int)
    return sglr.train(dataset=(rows, grades), clients=3, epochs=1, model="mlp", threads=1, **own)


def test_grades_train_with_nothing_taken_out_and_priors_that_are_named_are_refused(tmp_path: Path) -> None:
    results = [graded(method="sglr2", task="ordinal", **own) for own in ({}, {"label_prior": "ignore"})]
    assert results[0].summary["weights_sha256"] == results[1].summary["weights_sha256"]
    what = r"a logit of each class, and the task ordinal has outputs of the shape \[3\] for 4 classes"
    for method, own in (("sglr2", {"label_prior": "relative"}), ("gas", {}), ("scala", {})):
        with pytest.raises(UsageError, match=rf"^label_prior = \w+: .*{what}; give --label-prior ignore$"):
            graded(method=method, task="ordinal", out=tmp_path / "run", **own)
    assert not (tmp_path / "run" / "metrics.jsonl").exists()
    assert graded(method="gas", task="ordinal", label_prior="ignore").summary["status"] == "done"


@pytest.mark.parametrize("label_prior", ["own", "relative"])
def test_where_two_classes_are_equally_frequent_everywhere_there_is_nothing_to_take_out(label_prior: str) -> None:
    outputs, labels = torch.randn(1, 8, 1), torch.tensor([[0, 1] * 4])
    plain, corrected = (
        TrainingLoss(Binary(), clients=2, classes=2, label_prior=one, device=torch.device("cpu"))
        for one in ("ignore", label_prior)
    )
    wanted, found = (loss.gradient(outputs, labels, (0, 1), (4, 4), 0) for loss in (plain, corrected))
    for gradient in (found.step, found.step if found.told is None else found.told):
        torch.testing.assert_close(gradient, wanted.step)
    assert corrected.read().mean_loss == pytest.approx(plain.read().mean_loss)


def test_where_labels_stay_with_the_clients_no_prior_is_taken_out() -> None:
    auto, plain = (sglr.train("sglr2", **SETTINGS, tail="relu2", label_prior=prior) for prior in ("auto", "ignore"))
    assert auto.summary["weights_sha256"] == plain.summary["weights_sha256"]


@pytest.mark.parametrize(("field", "value"), [("gamma", -1.0), ("alpha", float("nan")), ("phi", 2.0)])
def test_parameters_out_of_range_are_refused(field: str, value: float) -> None:
    with pytest.raises(UsageError, match=field):
        METHODS.load("sglr2")(**{field: value})
