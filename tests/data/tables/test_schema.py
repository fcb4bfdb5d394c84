"""A schema says what columns are: tables are matched to it by name, and what does not fit is named."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sglr.core.data import Dataset
from sglr.core.errors import UsageError
from sglr.data.load import load_dataset
from sglr.data.tables.schema import Column, Label, Schema
from sglr.data.tables.schema_toml import schema_toml


def visits(rows: int = 60) -> pd.DataFrame:
    number = np.arange(rows)
    return pd.DataFrame(
        {
            "age": number * 1.5 + 20,
            "bmi": 20 + number % 13,
            "sex": np.array(["female", "male"])[number % 2],
            "diagnosis": np.array(["healthy", "ill", "ill"])[number % 3],
        }
    )


def save(frame: pd.DataFrame, path: Path) -> str:
    frame.to_csv(path, index=False)
    return f"table:{path}"


def made(frame: pd.DataFrame, tmp_path: Path, **reading: Any) -> dict[str, Any]:
    spec = save(frame, tmp_path / "made_of.csv")
    return dict(load_dataset(spec, None, {"label_column": "diagnosis", **reading}).encoding)


def read(frame: pd.DataFrame, schema: object, tmp_path: Path, **reading: Any) -> Dataset:
    return load_dataset(save(frame, tmp_path / "read.csv"), None, {"schema": schema, **reading})


def refused(frame: pd.DataFrame, schema: object, tmp_path: Path, **reading: Any) -> str:
    with pytest.raises(UsageError) as raised:
        read(frame, schema, tmp_path, **reading)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def same(one: Dataset, other: Dataset) -> bool:
    pairs = [(one.train, other.train), (one.test, other.test)]
    return all(torch.equal(a.inputs, b.inputs) and torch.equal(a.targets, b.targets) for a, b in pairs)


# Two tables that differ in the order of their columns


@settings(deadline=None, max_examples=10)
@given(st.permutations(["age", "bmi", "sex", "diagnosis"]))
def test_the_order_of_columns_makes_no_difference(tmp_path_factory: pytest.TempPathFactory, order: list[str]) -> None:
    folder = tmp_path_factory.mktemp("order")
    schema = made(visits(), folder)
    assert same(read(visits()[order], schema, folder), read(visits(), schema, folder))


def test_a_table_read_by_its_own_schema_is_what_it_was(tmp_path: Path) -> None:
    spec = save(visits(), tmp_path / "visits.csv")
    own = load_dataset(spec, None, {"label_column": "diagnosis"})
    file = tmp_path / "schema.toml"
    file.write_text(schema_toml(Schema.from_json(own.encoding)), encoding="utf-8")
    by_schema = load_dataset(spec, None, {"schema": str(file)})
    assert same(own, by_schema)
    assert by_schema.encoding == own.encoding
    assert by_schema.classes == ("healthy", "ill")


def test_sites_with_other_values_are_standardised_alike(tmp_path: Path) -> None:
    schema = made(visits(), tmp_path)
    older = visits().assign(age=visits()["age"] + 7)
    ages = [read(frame, schema, tmp_path).train.inputs[:, 0] for frame in (visits(), older)]
    expected = 7 / Schema.from_json(schema).columns[0].std
    assert torch.allclose(ages[1] - ages[0], torch.tensor(expected, dtype=torch.float32), atol=1e-6)


def test_figures_are_those_of_the_training_rows_and_categories_those_of_all(tmp_path: Path) -> None:
    frame = visits().assign(sex=["female"] * 59 + ["other"])
    own = load_dataset(save(frame, tmp_path / "t.csv"), None, {"label_column": "diagnosis"})
    age, _, sex = Schema.from_json(own.encoding).columns
    assert float(own.train.inputs[:, 0].double().mean()) == pytest.approx(0, abs=1e-6)
    assert float(own.train.inputs[:, 0].double().std(correction=0)) == pytest.approx(1, abs=1e-6)
    assert sex.categories == ("female", "other")
    assert age.inputs == ("age",)
    assert sex.inputs == ("sex=female", "sex=other")


# What does not fit is refused by name


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.drop(columns="bmi"), "column = bmi: "),
        (lambda f: f.rename(columns={"bmi": "BMI"}), "the schema requires; rename 'BMI' if it is meant"),
        (lambda f: f.assign(weight=1), "column = weight: "),
        (lambda f: f.assign(weight=1), "but the schema does not; leave it out with --leave-out 'weight'"),
        (lambda f: f.replace("female", "f"), "has the category 'f', which is not in the schema; did you mean 'f"),
        (lambda f: f.replace("ill", "sick"), "has the class 'sick', which is not in the schema"),
        (lambda f: f.assign(bmi="heavy"), "column = bmi: "),
        (lambda f: f.assign(bmi="1,5"), "give --decimal ','"),
        (lambda f: f.assign(age=[None] + [3.0] * 59), "column = age: "),
        (lambda f: f.assign(age=[None] + [3.0] * 59), "or set missing = \"drop\" for it in the schema"),
    ],
)  # fmt: skip
def test_a_table_that_does_not_fit(change: Any, message: str, tmp_path: Path) -> None:
    assert message in refused(change(visits()), made(visits(), tmp_path), tmp_path)


def test_columns_are_left_out_by_the_schema_or_by_who_reads(tmp_path: Path) -> None:
    schema = made(visits().assign(name="x"), tmp_path, leave_out="name")
    assert schema["leave_out"] == ["name"]
    whole = read(visits(), schema, tmp_path)
    assert same(whole, read(visits().assign(name="somebody"), schema, tmp_path))
    assert same(whole, read(visits().assign(town="somewhere"), schema, tmp_path, leave_out="town"))


@pytest.mark.parametrize(
    ("reading", "message"),
    [
        ({"label_column": "sex"}, "label_column = sex: the schema decides this"),
        ({"classes": "ill,healthy"}, "classes = ill,healthy: the schema decides this"),
        ({"columns": "age"}, "columns = age: the schema decides this"),
        ({"missing": "drop"}, "missing = drop: the schema decides this; leave it out, or edit the schema"),
    ],
)
def test_what_a_schema_decides_is_not_told_otherwise(reading: dict[str, str], message: str, tmp_path: Path) -> None:
    assert message in refused(visits(), made(visits(), tmp_path), tmp_path, **reading)


def test_what_a_schema_decides_may_be_told_the_same(tmp_path: Path) -> None:
    schema = made(visits(), tmp_path)
    assert same(
        read(visits(), schema, tmp_path),
        read(visits(), schema, tmp_path, label_column="diagnosis", classes=("healthy", "ill")),
    )


# Missing values


def test_missing_values_are_treated_as_each_column_says(tmp_path: Path) -> None:
    columns = [
        Column(name="a", type="number", mean=2.0, std=0.5, missing="mean"),
        Column(name="b", type="number", mean=0.0, std=1.0, missing="indicator"),
        Column(name="c", type="category", categories=("x", "y"), missing="indicator"),
        Column(name="d", type="category", categories=("x", "y"), missing="drop"),
    ]
    schema = Schema(label=Label(name="label", classes=("n", "p"), missing="drop"), columns=tuple(columns))
    rows = [",5,,x,n", "3,,y,x,p", "3,1,x,,p", "3,1,x,y,", "2,2,x,y,p"]
    (tmp_path / "t.csv").write_text("\n".join(["a,b,c,d,label", *rows]) + "\n")
    data = load_dataset(f"table:{tmp_path / 't.csv'}", None, {"schema": schema.to_json(), "test_fraction": 0.3})
    found = sorted(map(tuple, torch.cat([data.train.inputs, data.test.inputs]).tolist()))
    assert found == sorted([(0, 5, 0, 0, 0, 1, 1, 0), (2, 0, 1, 0, 1, 0, 1, 0), (0, 2, 0, 1, 0, 0, 0, 1)])
    assert schema.inputs == ("a", "b", "b is missing", "c=x", "c=y", "c is missing", "d=x", "d=y")
    assert data.notes == ("2 of 5 rows are left out, because a value is missing",)


def test_an_indicator_is_made_where_training_rows_lack_values(tmp_path: Path) -> None:
    frame = visits()
    frame.loc[::4, "bmi"] = np.nan
    schema = Schema.from_json(made(frame, tmp_path, missing="indicator"))
    assert [column.missing for column in schema.columns] == ["mean", "indicator", "mean"]
    assert schema.columns[1].mean == pytest.approx(frame["bmi"].mean(), rel=0.1)


# A schema as a file


@pytest.mark.parametrize(
    "schema",
    [
        Schema(label=Label(name="y", classes=("no", "yes")), columns=(Column(name="x", type="number"),)),
        Schema(
            label=Label(name='odd "label"\n', classes=("below 2", "2 and above"), edges=(2.0,), missing="drop"),
            leave_out=("name", "née"),
            columns=(
                Column(name="größe (cm)", type="number", mean=1 / 3, std=1e-12, missing="drop"),
                Column(name="c", type="category", categories=("#", "'", "a = 1"), missing="indicator"),
            ),
        ),
    ],
)
def test_a_schema_is_written_and_read_again(schema: Schema, tmp_path: Path) -> None:
    file = tmp_path / "schema.toml"
    file.write_text(schema_toml(schema), encoding="utf-8")
    assert Schema.from_toml(file) == schema
    assert Schema.from_json(schema.to_json()) == schema


def edited(change: Any, tmp_path: Path) -> str:
    content = tomllib.loads(schema_toml(Schema.from_json(made(visits(), tmp_path))))
    change(content)
    return refused(visits(), content, tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("label"), "schema = schema: needs a label, or else several labels; correct it in schema"),
        (lambda s: s["label"].pop("name"), "label.name = schema: field required"),
        (lambda s: s["label"].update(classes=["ill"]), "label = schema: a class needs 2 classes or more"),
        (lambda s: s["label"].update(classes=["ill", "ill"]), "label = schema: the class 'ill' is named twice"),
        (lambda s: s["label"].update(colour="red"), "label.colour = red: extra inputs are not permitted"),
        (lambda s: s.update(columns=[]), "columns = []: tuple should have at least 1 item"),
        (lambda s: s["columns"][0].update(std=0), "columns.age.std = 0: input should be greater than 0"),
        (lambda s: s["columns"][0].update(std="wide"), "columns.age.std = wide: input should be a valid number"),
        (lambda s: s["columns"][0].update(mean=float("nan")), "columns.age.mean = nan: "),
        (lambda s: s["columns"][0].update(type="date"), "columns.age.type = date: input should be 'number' or"),
        (lambda s: s["columns"][0].update(missing="guess"), "columns.age.missing = guess: input should be 'error'"),
        (lambda s: s["columns"][0].update(type="category"), "columns.age = schema: a category column needs categories"),
        (lambda s: s["columns"][1].update(name="age"), "schema = schema: the column 'age' is named twice"),
        (lambda s: s["columns"][2].update(categories=["male"] * 2), "columns.sex = schema: the category 'male' is"),
        (lambda s: s["columns"][2].update(mean=3), "columns.sex = schema: a category column has no mean or std"),
        (lambda s: s.update(kind="pictures"), "kind = pictures: input should be 'table'"),
    ],
)  # fmt: skip
def test_a_schema_that_is_edited_wrongly_is_refused_at_that_key(change: Any, message: str, tmp_path: Path) -> None:
    assert message in edited(change, tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no such file; make one: sglr schema DATA"),
        (b"columns = [", "is not TOML"),
        (b"\xff\xfe", "cannot be read"),
        (b"", "columns = "),
    ],
)
def test_a_file_that_is_no_schema(content: bytes | None, message: str, tmp_path: Path) -> None:
    file = tmp_path / "schema.toml"
    if content is not None:
        file.write_bytes(content)
    assert message in refused(visits(), str(file), tmp_path)
