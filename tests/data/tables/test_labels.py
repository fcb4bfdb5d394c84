"""Tables with several columns of targets, and with numbers to predict: what is not certain is asked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from sglr.core.data import Dataset
from sglr.core.errors import UsageError
from sglr.core.task import Targets
from sglr.data.load import load_dataset
from sglr.data.objects.options import Options
from sglr.data.objects.read import read_objects
from sglr.data.tables.schema import Schema
from sglr.data.tables.schema_toml import schema_toml

N = np.arange(80)
PATIENTS = pd.DataFrame(
    {
        "age": 20 + N % 60,
        "died": np.where(N % 7 == 0, "yes", "no"),
        "sepsis": N % 3 % 2,
        "readmitted": np.where(N % 5 == 0, "True", "False"),
        "days": N / 4,
        "cost": 1000.0 + N * 30,
        "ward": np.array(["a", "b"])[N % 2],
    }
)
FINDINGS, NUMBERS = ("died", "sepsis", "readmitted"), ("days", "cost")


def read(frame: pd.DataFrame, tmp_path: Path, labels: str, **reading: Any) -> Dataset:
    path = tmp_path / "patients.csv"
    frame.to_csv(path, index=False)
    taken = {*labels.split(",")} if reading.get("schema") is None else {*frame.columns} - {"age"}
    others = [name for name in frame.columns if name not in {"age", *taken}]
    told = {"label_column": labels, "leave_out": ",".join(others)} if "schema" not in reading else {}
    return load_dataset(f"table:{path}", None, {**told, **reading})


def in_order(dataset: Dataset) -> torch.Tensor:
    """Return the targets of all rows in the order of the file, which the age gives within each part."""
    return torch.cat([dataset.train.targets, dataset.test.targets])


def test_columns_of_two_words_are_findings(tmp_path: Path) -> None:
    dataset = read(PATIENTS, tmp_path, ",".join(FINDINGS))
    assert dataset.targets == Targets(FINDINGS, (3,), "int64", 2)
    assert dataset.classes == ()
    assert in_order(dataset).sum(0).tolist() == [(N % 7 == 0).sum(), (N % 3 == 1).sum(), (N % 5 == 0).sum()]
    assert len(dataset.test) == 16


def test_numbers_keep_their_unit_and_the_schema_has_the_figures_of_the_training_rows(tmp_path: Path) -> None:
    dataset = read(PATIENTS, tmp_path, "days,cost", label_kind="numbers")
    assert replace(dataset.targets, units=()) == Targets(NUMBERS, (2,), "float32")
    assert sorted(in_order(dataset)[:, 0].tolist()) == (N / 4).tolist()
    own = dataset.train.targets.double()
    figures = np.stack([own.mean(0), own.std(0, correction=0)], axis=1)
    assert np.array(dataset.targets.units) == pytest.approx(figures, rel=1e-6)
    one = read(PATIENTS, tmp_path, "days", label_kind="numbers")
    assert (replace(one.targets, units=()), one.train.targets.dim()) == (Targets(("days",), (), "float32"), 1)


def test_one_finding_is_a_label_of_two_classes(tmp_path: Path) -> None:
    assert read(PATIENTS, tmp_path, "died", label_kind="findings").classes == ("no", "yes")


@pytest.mark.parametrize(
    ("labels", "reading"),
    [
        (",".join(FINDINGS), {}),
        ("days,cost", {"label_kind": "numbers"}),
        ("days", {"label_kind": "numbers", "missing": "drop"}),
        ("died,ward", {"label_kind": "findings", "missing": "drop"}),
    ],
)
def test_a_table_read_by_its_own_schema_has_the_same_targets(
    labels: str, reading: dict[str, Any], tmp_path: Path
) -> None:
    frame = PATIENTS.assign(ward=np.array(["absent", "Present"])[N % 2]) if "ward" in labels else PATIENTS
    own = read(frame, tmp_path, labels, **reading)
    file = tmp_path / "schema.toml"
    file.write_text(schema_toml(Schema.from_json(own.encoding)), encoding="utf-8")
    again = read(frame, tmp_path, labels, schema=str(file))
    assert torch.equal(again.train.targets, own.train.targets)
    assert torch.equal(again.test.targets, own.test.targets)
    assert (again.targets, again.encoding) == (own.targets, own.encoding)


def test_rows_without_an_outcome_are_named_or_left_out(tmp_path: Path) -> None:
    frame = PATIENTS.astype({"sepsis": object})
    frame.loc[[4, 9], "sepsis"] = None
    frame.loc[6, "days"] = None
    with pytest.raises(UsageError, match=r"column = sepsis: .* 2 row\(s\) without a value .* first is row 5; .*drop"):
        read(frame, tmp_path, ",".join(FINDINGS))
    assert len(in_order(read(frame, tmp_path, ",".join(FINDINGS), missing="drop"))) == 78
    numbers = read(
        frame.assign(days=frame["days"].astype(object).fillna("nan")),
        tmp_path,
        "days",
        label_kind="numbers",
        missing="drop",
    )
    assert len(in_order(numbers)) == 79


@pytest.mark.parametrize(
    ("labels", "reading", "message"),
    [
        ("days", {}, r"label_column = days: .*80 different numbers.*is it to be predicted \(--task regression"),
        ("days,cost", {}, r"label_column = days,cost: .*not certain .'days' has other values.* --label-kind numbers"),
        ("died,days", {}, r"label_column = died,days: .*'days' has other values"),
        ("died,died", {}, r"label_column = died,died: names 'died' twice"),
        ("died,nobody", {}, r"label_column = nobody: no such column"),
        ("ward,died", {"label_kind": "numbers"}, r"column = ward: .*texts in this column, such as 'a'"),
        (
            "ward,died",
            {"label_kind": "findings"},
            r"label_column = ward: .*'a', 'b' in this column, and a finding is 0",
        ),
        ("died,sepsis", {"label_kind": "classes"}, r"label_column = died,sepsis: a sample has one class"),
        ("days", {"label_kind": "numbers", "label_edges": "3"}, r"label_edges = 3.0: labels are numbers"),
        ("days", {"label_kind": "numbers", "classes": "a,b"}, r"classes = a,b: labels are numbers"),
        ("died,sepsis", {"classes": "a,b,c", "label_kind": "findings"}, r"classes = a,b,c: a finding has two"),
    ],
)
def test_what_is_not_certain_is_asked_and_what_contradicts_is_refused(
    labels: str, reading: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=message):
        read(PATIENTS, tmp_path, labels, **reading)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": [{"name": "died", "type": "finding", "classes": ["no", "yes"]}]}, "two or more columns"),
        (
            {"labels": [{"name": "a", "type": "number"}, {"name": "b", "type": "finding", "classes": ["0", "1"]}]},
            "all of",
        ),
        ({"labels": [{"name": "a"}, {"name": "b"}]}, "a class needs 2 classes"),
        ({"label": {"name": "a", "type": "finding", "classes": ["0", "1"]}}, "one finding alone"),
        ({"label": {"name": "a", "type": "number", "classes": ["0", "1"]}}, "a number has no classes"),
        ({"label": {"name": "a", "classes": ["0", "1"], "mean": 2.0}}, "only a number has a mean"),
        ({"label": {"name": "a", "type": "number", "std": 0.0}}, "greater than 0"),
        ({}, "needs a label, or else several labels"),
    ],
)
def test_a_schema_whose_labels_contradict_themselves_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Schema.from_json({"kind": "table", "columns": [{"name": "age", "type": "number"}], **change})


def test_a_data_frame_has_the_same_targets_as_its_file(tmp_path: Path) -> None:
    frame = PATIENTS[["age", *NUMBERS]]
    wanted = read(frame, tmp_path, "days,cost", label_kind="numbers", test_fraction=0.25)
    options = {"label_kind": "numbers", "test_fraction": 0.25}
    for given, label in ((frame, "days,cost"), ((frame[["age"]], frame[[*NUMBERS]]), "")):
        found = read_objects(given, Options.of({**options, "label": label}))
        assert found.targets == wanted.targets
        assert torch.equal(found.train.targets, wanted.train.targets)
        assert torch.equal(found.test.inputs, wanted.test.inputs)
    with pytest.raises(UsageError, match=r"label = a: the labels have 2 columns; give a name for each"):
        read_objects((frame[["age"]], frame[[*NUMBERS]]), Options.of({**options, "label": "a"}))
