"""``sglr predict`` and ``sglr evaluate``: from a run folder to a file of predictions, and what they refuse."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import sglr


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run."""
    out = tmp_path_factory.mktemp("trained") / "run"
    sglr.train(dataset="digits", clients=3, samples_per_client=64, epochs=1, model="mlp", out=out)
    return out


def test_predictions_are_written_printed_or_told_as_json(trained, call, tmp_path) -> None:
    answer = call("predict", trained, "digits", "--out", tmp_path / "new" / "p.parquet", "--client", "1")
    assert (answer.code, "360 predictions (client 1)" in answer.out) == (0, True)
    table = pd.read_parquet(tmp_path / "new" / "p.parquet")
    assert list(table.columns) == ["id", "class", *(f"probability_{digit}" for digit in range(10)), "target"]
    answer = call("predict", trained, "digits", "--client", "1")
    lines = answer.out.splitlines()
    assert (len(lines), lines[0].split(",")[:2]) == (361, ["id", "class"])
    assert "its 360 test samples" in answer.err
    told = json.loads(call("predict", trained, "digits", "--client", "1", "--json").out)
    assert [one["class"] for one in told] == list(table["class"])


def test_an_evaluation_is_the_summary_s_test_and_has_a_page(trained, call, tmp_path) -> None:
    answer = call("evaluate", trained, "--client", "each", "--out", tmp_path / "found", "--json")
    found, told = json.loads(answer.out), json.loads((trained / "summary.json").read_text())["test"]
    assert answer.code == 0 and found["accuracy"] == pytest.approx(told["accuracy"])
    assert json.loads((tmp_path / "found" / "evaluation.json").read_text()) == found
    page = (tmp_path / "found" / "evaluation.html").read_text()
    assert "its 360 test samples" in page and "Confusion" in page
    assert "accuracy" in call("evaluate", trained).out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "no data to predict for"),
        (["nowhere.csv"], "no such file or folder"),
        (["digits", "--client", "3"], "give 0 to 2"),
        (["digits", "--client", "all"], "is no client"),
        (["digits", "--client", "each"], "a prediction is one answer"),
        (["digits", "--client", "shared"], "lower layers of its own"),
        (["digits", "--out", "p.xlsx"], "another ending"),
        (["digits", "--separator", ";"], "no such parameter"),
        (["cifar10:x"], "cifar10"),
        (["digits", "--segment", "nowhere"], "one client"),
    ],
)
def test_what_can_t_be_meant_is_refused(trained, call, words, told) -> None:
    answer = call("predict", trained, *words)
    assert (answer.code, answer.out) == (2, "")
    assert told in answer.err and answer.err.count("\n") <= 2


def test_runs_that_cannot_answer_are_refused(trained, call, tmp_path) -> None:
    old = shutil.copytree(trained, tmp_path / "old")
    (old / "data.json").unlink()
    answer = call("predict", old, "digits")
    assert (answer.code, "sglr 0.1" in answer.err) == (2, True)
    new = shutil.copytree(trained, tmp_path / "new")
    shutil.rmtree(new / "checkpoints")
    assert (call("predict", new, "digits").code, call("evaluate", new).code) == (2, 2)
    assert call("evaluate", tmp_path).code == 2


def test_a_table_for_pictures_and_a_file_for_a_folder_are_refused(trained, call, tmp_path) -> None:
    (tmp_path / "rows.csv").write_text("a,b\n1,2\n")
    answer = call("predict", trained, tmp_path / "rows.csv")
    assert answer.code == 2 and "of the kind table, and the network was trained on the kind image" in answer.err
    answer = call("evaluate", trained, "--out", tmp_path / "rows.csv")
    assert answer.code == 2 and "is a file; give the name of a folder" in answer.err


def test_lines_of_csv_that_would_leave_something_out_are_refused(call, tmp_path) -> None:
    random = np.random.default_rng(0)
    inputs, findings = random.random((60, 5), dtype=np.float32), random.integers(0, 2, (60, 3))
    run = sglr.train(
        dataset=(inputs, findings), task="multilabel", out=tmp_path / "run", clients=2, epochs=1, model="mlp"
    )
    np.savez(tmp_path / "known.npz", x=inputs, y=findings)
    np.save(tmp_path / "new.npy", inputs)
    assert len(call("predict", run.path, tmp_path / "new.npy").out.splitlines()) == 61
    for words in ([], ["--out", tmp_path / "p.csv"]):
        answer = call("predict", run.path, tmp_path / "known.npz", *words)
        assert (answer.code, answer.out) == (2, "")
        assert "target has several for each sample; give a name that ends with .npz" in answer.err
    assert call("predict", run.path, tmp_path / "known.npz", "--out", tmp_path / "p.jsonl").code == 0
