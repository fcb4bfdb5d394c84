"""Several values cross the cut: every method trains, all engines and forms agree, and what is beside stays as it is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.several_values import Lines, UNet, lines, squares
from tests.some_methods import WITH_TAIL

import sglr
from sglr.core.errors import UsageError
from sglr.core.registry import METHODS
from sglr.leakage.open_run import open_run
from sglr.storage.checkpoint import read_checkpoint

MIXING = [name for name in METHODS.names() if METHODS.load(name).mixes]
SPLITTING = [name for name in METHODS.names() if not METHODS.load(name).whole_model]
OF_CLASSES = [name for name in SPLITTING if "label_prior" in METHODS.load(name).settings]
QUICK = ("sglr", "cyclesl")
LONGER: dict[str, dict[str, Any]] = {"cse-fsl": {"h": 1}, "fsl-sage": {"h": 1, "align_every": 1}}


def some(names: Sequence[str], but: Sequence[str]) -> list[Any]:
    """Return methods to test; most in the slow tests."""
    marks = [() if name in QUICK else (pytest.mark.slow,) for name in names]
    return [pytest.param(name, marks=mark) for name, mark in zip(names, marks, strict=True) if name not in but]


def trained(method: str, kind: type[Any], tmp_path: Path, **settings: Any) -> sglr.Run:
    masks = kind is UNet
    usual: dict[str, Any] = {
        "dataset": squares() if masks else lines(),
        "task": "segmentation" if masks else "classification",
        "clients": 2,
        "batch_size": 6,
        "epochs": 2,
        "lr": 0.01,
        "out": tmp_path / "run",
    }
    torch.manual_seed(0)
    return sglr.train(method, model=kind(), **{**usual, **LONGER.get(method, {}), **settings})


@pytest.mark.parametrize("method", some(SPLITTING, OF_CLASSES))
def test_every_method_trains_a_u_net_at_its_bottleneck(method: str, tmp_path: Path) -> None:
    run = trained(method, UNet, tmp_path)
    assert run.summary is not None
    assert np.isfinite(run.history[-1]["loss"])


@pytest.mark.parametrize("method", some(SPLITTING, MIXING))
def test_every_method_that_mixes_nothing_trains_a_model_with_masks_beside(method: str, tmp_path: Path) -> None:
    run = trained(method, Lines, tmp_path, optimizer="adam")
    assert run.summary is not None
    assert run.history[-1]["loss"] < 1.5
    up = run.summary["communication"]["by_kind"]["up"]
    samples = run.history[-1]["samples"]
    assert up["beside"] % (2 * 7 * 4) == 0  # a mask and numbers of tokens, seven each
    if method not in LONGER:
        assert up["beside"] == samples * 2 * 7 * 4
        assert up["smashed"] == samples * 7 * 6 * 4


@pytest.mark.parametrize("method", [name for name in MIXING if not METHODS.load(name).decodes])
def test_mixing_samples_is_refused_where_masks_cross(method: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="mixes what samples have at the cut") as raised:
        trained(method, Lines, tmp_path)
    assert raised.value.field == "method"


@pytest.mark.parametrize("method", some(WITH_TAIL, []))
def test_labels_stay_where_three_values_cross(method: str, tmp_path: Path) -> None:
    run = trained(method, UNet, tmp_path, tail="up1")
    assert run.summary is not None
    assert "labels" not in run.summary["communication"]["by_kind"]["up"]


def weights_of(run: sglr.Run) -> dict[str, torch.Tensor]:
    return read_checkpoint(run.checkpoints[-1])[0]


@pytest.mark.parametrize("kind", [UNet, Lines])
@pytest.mark.parametrize("told", [{}, {"compression": "int8", "defence": "noise:sigma=0.1"}], ids=["plain", "changed"])
def test_stacked_equals_looped(kind: type[Any], told: dict[str, Any], tmp_path: Path) -> None:
    runs = [
        trained("sglr", kind, tmp_path / form, stacking=form, optimizer="sgd", clients=3, **told)
        for form in ("stacked", "looped")
    ]
    stacked, looped = map(weights_of, runs)
    assert stacked.keys() == looped.keys()
    for name, tensor in stacked.items():
        torch.testing.assert_close(tensor, looped[name], rtol=1e-3, atol=1e-5, msg=lambda text, name=name: name + text)


def test_law_1_one_client_trains_as_the_whole_model(tmp_path: Path) -> None:
    told = {"clients": 1, "optimizer": "sgd", "epochs": 1}
    split, whole = (trained(name, UNet, tmp_path / name, **told) for name in ("psl", "cl"))
    assert split.history[-1]["loss"] == pytest.approx(whole.history[-1]["loss"], rel=1e-5)
    assert split.summary is not None
    assert whole.summary is not None
    assert split.summary["test"]["loss"] == pytest.approx(whole.summary["test"]["loss"], rel=1e-5)


@pytest.mark.parametrize("kind", [UNet, Lines])
def test_a_loaded_run_scores_as_the_training_did(kind: type[Any], tmp_path: Path) -> None:
    data = squares() if kind is UNet else lines()
    run = trained("sglr", kind, tmp_path, compression="int8:feedback=true", checkpoint_every=2)
    assert run.summary is not None
    model = sglr.load_model(run.path, model=kind(), dataset=data)
    outputs = model(data.test.tensor)
    losses = torch.nn.functional.cross_entropy(outputs, data.test.targets)
    assert float(losses.detach()) == pytest.approx(run.summary["test"]["loss"], rel=0.2)


@pytest.mark.slow
@pytest.mark.parametrize(("form", "compression"), [("onnx", "int8"), ("torch", "topk:0.3")])
def test_what_is_exported_gives_the_same(form: str, compression: str, tmp_path: Path) -> None:
    run = trained("psl", Lines, tmp_path, compression=compression, epochs=1)
    exported = sglr.export(run.path, tmp_path / form, format=form, model=Lines(), data=lines().test.inputs)
    assert {file.name.split(".")[0] for file in exported.files} == {"client-0", "client-1", "server", "joined"}


def test_measures_of_leakage_see_what_is_learned_alone(tmp_path: Path) -> None:
    settings = {"clients": 2, "samples_per_client": 30, "epochs": 1, "out": tmp_path / "run"}
    run = sglr.train("psl", model="tests.several_values:Skips", dataset="digits", **settings)
    target = open_run(run).target(0)
    inputs = target.own.tensor[:4]
    assert target.send(inputs).shape == (4, 16 * (16 + 64) + 2 * 2 * 64)
    assert torch.equal(target.observed(inputs), target.send(inputs)[:, : 16 * (16 + 64)])


def test_a_cut_beside_which_texts_are_sent_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    trained("psl", Lines, tmp_path, epochs=1)
    assert "the server sees the inputs as they are" in caplog.text
    assert "int64 [7]" in caplog.text
