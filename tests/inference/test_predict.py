"""A trained run is used: it predicts for new data, and its scores on the old ones are those that it told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_breast_cancer, load_diabetes

import sglr
from sglr.core.errors import Interrupted, UsageError
from sglr.inference.predictions import Predictions

QUICK: dict[str, Any] = {"clients": 3, "epochs": 1, "model": "mlp", "batch_size": 32}


@pytest.fixture(scope="module")
def wisconsin(tmp_path_factory: pytest.TempPathFactory) -> tuple[sglr.Run, pd.DataFrame]:
    """Return a run that learned from a table of tumours, and the table."""
    found = load_breast_cancer(as_frame=True)
    frame = found.data.iloc[:, :6].assign(outcome=np.where(found.target == 1, "benign", "malignant"))
    out = tmp_path_factory.mktemp("wisconsin") / "run"
    return sglr.train(dataset=frame, label="outcome", task="binary", out=out, **QUICK), frame


CASES: list[dict[str, Any]] = [
    {"method": "sglr"},
    {"method": "sfl", "tail": "relu2"},
    {"method": "psl", "tail": "relu2"},
    {"method": "fl"},
    {"method": "psl", "compression": "int8"},
    {"method": "cl"},
]


@pytest.mark.parametrize("settings", CASES, ids=str)
def test_scores_on_the_runs_own_test_samples_are_those_of_its_summary(settings: dict[str, Any], tmp_path: Path) -> None:
    run = sglr.train(dataset="digits", out=tmp_path / "run", **QUICK, **settings)
    found, told = run.evaluate(client="each"), run.summary["test"]
    assert found["accuracy"] == pytest.approx(told["accuracy"], abs=1e-9)
    assert found["loss"] == pytest.approx(told["loss"], rel=1e-5)
    assert found["confusion"] == told["confusion"]


def test_an_unfinished_run_tells_the_epoch_of_the_weights_that_answer(tmp_path: Path) -> None:
    asked = [0]

    def stop() -> bool:
        asked[0] += 1
        return asked[0] > 12  # there are 3 steps in an epoch

    settings = {**QUICK, "samples_per_client": 96, "epochs": 5, "eval_every": 2, "method": "sfl"}
    with pytest.raises(Interrupted, match="stopped in epoch"):
        sglr.train(dataset="digits", out=tmp_path / "run", stop=stop, **settings)
    run = sglr.Run.open(tmp_path / "run")
    epochs = len(run.history)
    assert (epochs, run.summary) == (3, None)
    assert run.network().epoch == run.evaluate()["epoch"] == 2  # the last that was validated
    (run.path / "checkpoints" / "best.safetensors").unlink()
    assert run.network().epoch == 4  # the newest checkpoint's, in the middle of that epoch


@pytest.mark.parametrize("settings", [{}, {"eval_every": 3}, {"early_stopping": 1, "lr": 1e-9}])
def test_a_finished_run_tells_the_epoch_that_its_summary_has_tested(settings: dict[str, Any], tmp_path: Path) -> None:
    run = sglr.train(dataset="digits", out=tmp_path / "run", **{**QUICK, "epochs": 4, **settings})
    assert run.network().epoch == run.summary["test"]["epoch"]


def test_an_answer_is_a_clients_or_the_mean_of_all_and_the_choice_is_stated(tmp_path: Path) -> None:
    run = sglr.train(dataset="digits", out=tmp_path / "run", **QUICK)
    inputs = torch.rand(5, 1, 8, 8)
    each = [run.network(client).outputs(inputs) for client in range(3)]
    with torch.no_grad():
        torch.testing.assert_close(each[1], sglr.load_model(run.path, 1)(inputs))
    torch.testing.assert_close(run.network().outputs(inputs), torch.stack(each).mean(0))
    torch.testing.assert_close(run.network("average").module()(inputs), torch.stack(each).mean(0))
    assert [run.network(whose).whose for whose in (None, 2)] == ["average of 3 clients", "client 2"]
    probabilities = np.stack([run.predict(inputs)[f"probability_{digit}"] for digit in range(10)], axis=1)
    np.testing.assert_allclose(probabilities, torch.stack(each).mean(0).softmax(1), rtol=1e-5)
    with pytest.raises(UsageError, match="lower layers of its own"):
        run.network("shared")
    with pytest.raises(UsageError, match="give 0 to 2"):
        run.network(3)


def test_rows_need_no_label_and_are_read_by_the_schema_of_the_training(wisconsin: Any, tmp_path: Path) -> None:
    run, frame = wisconsin
    features = frame.drop(columns="outcome")
    found = run.predict(frame)
    bare = run.predict(features[features.columns[::-1]].assign(remark="new"))
    np.testing.assert_array_equal(found["probability_malignant"], bare["probability_malignant"])
    assert "remark" in bare.notes[0] and "target" not in bare.columns
    assert list(found["target"]) == list(frame["outcome"])
    threshold = run.summary["test"]["threshold"]
    called = np.where(found["probability_malignant"] >= threshold - 1e-6, "malignant", "benign")
    assert (called == found["class"]).mean() > 0.99
    frame.assign(patient=[f"p{row}" for row in range(len(frame))]).to_csv(tmp_path / "new.csv", index=False)
    written = run.predict(tmp_path / "new.csv", id_column="patient")
    assert written.ids[:2] == ("p0", "p1")
    np.testing.assert_allclose(written["probability_malignant"], found["probability_malignant"], rtol=1e-5)
    scores = run.evaluate(frame)
    assert scores["samples"] == len(frame) and 0.5 < scores["scores"]["auroc"]["low"] <= scores["auroc"]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda frame: frame.drop(columns="mean area"), "lacks this column"),
        (lambda frame: frame.assign(**{"mean area": "large"}), "mean area"),
        (lambda frame: frame.assign(**{"mean area": np.nan}), "without a value"),
        (lambda frame: frame.iloc[:0], "."),
        (lambda frame: frame.assign(outcome="unsure"), "unsure"),
    ],
)
def test_rows_that_do_not_fit_are_refused(wisconsin: Any, change: Any, problem: str) -> None:
    run, frame = wisconsin
    with pytest.raises(UsageError, match=problem):
        run.predict(change(frame))


@pytest.mark.parametrize("size", [0, -1])
def test_a_batch_of_no_samples_is_refused(wisconsin: Any, size: int) -> None:
    run, frame = wisconsin
    for use in (run.predict, run.evaluate):
        with pytest.raises(UsageError, match=f"^batch_size = {size}: .*give 1 or more"):
            use(frame, batch_size=size)
    with pytest.raises(UsageError, match=f"^batch_size = {size}: "):
        run.network().outputs(torch.zeros(2, 6), size)
    assert len(run.predict(frame[:2], batch_size=1)) == 2


def test_scores_need_targets(wisconsin: Any) -> None:
    run, frame = wisconsin
    with pytest.raises(UsageError, match="no targets"):
        run.evaluate(frame.drop(columns="outcome"))
    some = frame.assign(outcome=frame["outcome"].mask(frame.index < 3))
    with pytest.raises(UsageError, match="3 of 569 rows have no label"):
        run.evaluate(some)
    assert len(run.predict(some)) == len(frame)


def test_measurements_are_told_in_their_units(tmp_path: Path) -> None:
    X, y = load_diabetes(return_X_y=True)
    run = sglr.train(dataset=(X, y), task="regression", out=tmp_path / "run", **{**QUICK, "epochs": 3})
    found = run.predict((X, y))
    assert 100 < found["target 0"].mean() < 200
    errors = found["target 0"] - y
    assert run.evaluate((X, y))["scores"]["mae"]["mean"] == pytest.approx(np.abs(errors).mean(), rel=1e-4)


def test_pictures_need_no_folders_of_classes(tmp_path: Path) -> None:
    drawn = np.random.default_rng(0)
    for name, level in (("dark", 40), ("light", 200)):
        (tmp_path / "train" / name).mkdir(parents=True)
        for number in range(20):
            picture = drawn.normal(level, 20, (12, 12)).clip(0, 255).astype(np.uint8)
            Image.fromarray(picture).save(tmp_path / "train" / name / f"{number}.png")
    settings = {**QUICK, "clients": 2, "batch_size": 4, "epochs": 3}
    run = sglr.train(dataset=f"folder:{tmp_path / 'train'}", image_size=8, out=tmp_path / "run", **settings)
    (tmp_path / "new" / "inner").mkdir(parents=True)
    for number in range(2):
        (tmp_path / "train" / "light" / f"{number}.png").rename(tmp_path / "new" / "inner" / f"{number}.png")
    found = run.predict(tmp_path / "new")
    assert found.ids == ("inner/0.png", "inner/1.png")
    (tmp_path / "new" / "inner").rename(tmp_path / "new" / "light")
    labelled = run.predict(tmp_path / "new")
    np.testing.assert_array_equal(found["probability_light"], labelled["probability_light"])
    assert list(labelled["target"]) == ["light", "light"]
    assert run.predict(tmp_path / "new" / "light" / "0.png").ids == ("0.png",)
    Image.fromarray(np.full((8, 8), 4000, dtype=np.uint16)).save(tmp_path / "new" / "deep.png")
    with pytest.raises(UsageError, match="pixel values"):
        run.predict(tmp_path / "new")


def test_arrays_are_read_from_files_as_they_are_from_memory(tmp_path: Path) -> None:
    inputs, labels = np.random.default_rng(0).random((60, 5), dtype=np.float32), np.arange(60) % 2
    run = sglr.train(dataset=(inputs, labels), out=tmp_path / "run", **QUICK)
    found = run.predict(inputs)
    np.save(tmp_path / "x.npy", inputs)
    np.savez(tmp_path / "xy.npz", x=inputs, y=labels)
    for file in ("x.npy", "xy.npz"):
        np.testing.assert_array_equal(run.predict(tmp_path / file)["probability_1"], found["probability_1"])
    assert run.evaluate(tmp_path / "xy.npz")["samples"] == 60
    for wrong in (inputs[:, :4], np.where(inputs > 0.5, np.nan, inputs), np.empty((0, 5), np.float32), 3, None):
        with pytest.raises(UsageError):
            run.predict(wrong)


def test_predictions_are_written_whole_as_tables_or_arrays(tmp_path: Path) -> None:
    masks = np.arange(8, dtype=np.uint8).reshape(2, 2, 2)
    found = Predictions(("a", "b"), {"class": np.array(["x", "<b>"], dtype=object), "mask": masks}, "shared")
    table = pd.read_parquet(found.write(tmp_path / "p.parquet"))
    assert list(table["id"]) == ["a", "b"] and [list(row) for row in table["mask"][1]] == masks[1].tolist()
    np.testing.assert_array_equal(np.load(found.write(tmp_path / "p.npz"))["mask"], masks)
    assert len(pd.read_json(found.write(tmp_path / "p.jsonl"), lines=True)) == 2
    with pytest.raises(UsageError, match="mask has several"):
        found.write(tmp_path / "p.csv")
    with pytest.raises(UsageError, match="another ending"):
        found.write(tmp_path / "p.txt")
    assert not (tmp_path / "p.csv").exists()
    assert "&lt;b&gt;" in found._repr_html_()
