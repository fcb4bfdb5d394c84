"""Tables as people have them: separators, encodings, numbers, gaps; and what is refused or warned about."""

from __future__ import annotations

import datetime
import gzip
from decimal import Decimal
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
from sglr.data.federate import federate
from sglr.data.load import load_dataset
from sglr.data.partitioners.iid import Iid
from sglr.data.tables.column_kinds import Notation

ROW = np.arange(60)
LABEL = np.array(["ill", "well"])[ROW % 2]


def rows(**columns: Any) -> pd.DataFrame:
    return pd.DataFrame({"x": ROW * 1.5, **columns, "label": LABEL})


def load(table: pd.DataFrame | str | bytes, folder: Path, name: str = "t.csv", **reading: Any) -> Dataset:
    path = folder / name
    if isinstance(table, pd.DataFrame):
        table.to_parquet(path) if name.endswith(".parquet") else table.to_csv(path, index=False)
    else:
        path.write_bytes(table.encode() if isinstance(table, str) else table)
    return load_dataset(f"table:{path}", None, reading)


def refused(table: pd.DataFrame | str | bytes, folder: Path, name: str = "t.csv", **reading: Any) -> str:
    with pytest.raises(UsageError) as raised:
        load(table, folder, name, **reading)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def kinds(data: Dataset) -> dict[str, str]:
    return {column["name"]: column["type"] for column in data.encoding["columns"]}


def inputs(data: Dataset) -> list[list[float]]:
    return torch.cat([data.train.inputs, data.test.inputs]).tolist()


# How files are written

PLAIN = "size,job,label\n" + "".join(f'{n}.5,"{"abc"[n % 3]}, d",{LABEL[n]}\n' for n in ROW)
WRITTEN: dict[str, tuple[str, bytes, dict[str, Any]]] = {
    "semicolons": ("t.csv", "".join(f"{n}.5;{'abc'[n % 3]}, d;{LABEL[n]}\n" for n in ROW).encode(), {}),
    "tabs": ("t.csv", "".join(f"{n}.5\t{'abc'[n % 3]}, d\t{LABEL[n]}\n" for n in ROW).encode(), {}),
    "tsv": ("t.tsv", "".join(f"{n}.5\t{'abc'[n % 3]}, d\t{LABEL[n]}\n" for n in ROW).encode(), {}),
    "bars": ("t.txt", "".join(f"{n}.5|{'abc'[n % 3]}, d|{LABEL[n]}\n" for n in ROW).encode(), {}),
    "a sign of one's own": (
        "t.data",
        "".join(f"{n}.5~{'abc'[n % 3]}, d~{LABEL[n]}\n" for n in ROW).encode(),
        {"separator": "~"},
    ),
    "decimal commas": (
        "t.csv",
        "".join(f"{n},5;{'abc'[n % 3]}, d;{LABEL[n]}\n" for n in ROW).encode(),
        {"decimal": ","},
    ),
    "blanks": ("t.csv", "".join(f' {n}.5 , "{"abc"[n % 3]}, d" , {LABEL[n]} \n' for n in ROW).encode(), {}),
    "single quotes": ("t.csv", "".join(f"{n}.5\t'{'abc'[n % 3]}, d'\t'{LABEL[n]}'\n" for n in ROW).encode(), {}),
}


@pytest.mark.parametrize("how", WRITTEN)
def test_a_table_is_the_same_however_it_is_written(how: str, tmp_path: Path) -> None:
    name, body, reading = WRITTEN[how]
    sign = {"semicolons": ";", "decimal commas": ";", "bars": "|", "a sign of one's own": "~", "blanks": " , "}
    head = sign.get(how, "\t").join(
        ["'size'", "'job'", "'label'"] if how == "single quotes" else ["size", "job", "label"]
    )
    plain = load(PLAIN, tmp_path, "plain.csv")
    data = load(f"{head}\n".encode() + body, tmp_path, name, **reading)
    assert (data.encoding, data.classes) == (plain.encoding, plain.classes)
    assert inputs(data) == inputs(plain)


@pytest.mark.parametrize(
    ("name", "content", "reading"),
    [
        ("t.csv.gz", gzip.compress(PLAIN.encode(), mtime=0), {}),
        ("t.csv", PLAIN.encode("utf-8-sig"), {}),
        ("t.csv", PLAIN.encode("utf-16"), {"encoding": "utf-16"}),
        ("t.csv", PLAIN.encode("latin-1"), {"encoding": "latin-1"}),
        ("t.csv", b"made by a program\n\n" + PLAIN.encode(), {"skip_rows": 2}),
        ("t.csv", PLAIN.replace("\n", "\r\n").encode(), {}),
    ],
)
def test_packing_encoding_and_lines_before_make_no_difference(
    name: str, content: bytes, reading: dict[str, Any], tmp_path: Path
) -> None:
    assert inputs(load(content, tmp_path, name, **reading)) == inputs(load(PLAIN, tmp_path, "plain.csv"))


def test_a_table_without_a_header(tmp_path: Path) -> None:
    body = PLAIN.partition("\n")[2]
    data = load(body, tmp_path, header=False, label_column="column_3")
    assert inputs(data) == inputs(load(PLAIN, tmp_path, "plain.csv"))
    assert list(kinds(data)) == ["column_1", "column_2"]


@pytest.mark.parametrize(
    ("name", "content", "reading", "message"),
    [
        ("t.csv", "größe,label\n1,a\n2,b\n".encode("latin-1"), {}, "encoding = utf-8: "),
        ("t.csv", "größe,label\n1,a\n2,b\n".encode("latin-1"), {}, "try --encoding latin-1"),
        ("t.csv", b"a,label\n" + b"x,ill\n" * 9000 + "ö,ill\n".encode("latin-1"), {}, "try --encoding latin-1"),
        ("t.csv", PLAIN.encode("utf-16"), {}, "try --encoding utf-16"),
        ("t.csv", PLAIN.encode(), {"encoding": "utf-99"}, "encoding = utf-99: no such encoding"),
        ("t.csv", PLAIN.encode(), {"separator": "::"}, "separator = ::: "),
        ("t.csv", PLAIN.encode(), {"skip_rows": -1}, "skip_rows = -1: "),
        ("t.csv", PLAIN.encode(), {"skip_rows": 99}, "cannot be read as text"),
        ("t.csv", PLAIN.encode(), {"decimal": "1"}, "decimal = 1: "),
        ("t.csv", PLAIN.encode(), {"decimal": ",", "thousands": ","}, "thousands = ,: is also the decimal sign"),
        ("t.csv", b"\n\n", {}, "cannot be read as text"),
        ("t.csv.gz", b"a,label\n1,x\n2,y\n", {}, "cannot be read as text (Not a gzipped file"),
        ("t.csv.gz", gzip.compress(PLAIN.encode(), mtime=0)[:60], {}, "cannot be read as text"),
        ("t.csv", b"a,a,label\n1,2,x\n2,3,y\n", {}, "column = a: "),
        ("t.csv", b"a,label, label \n1,2,x\n2,3,y\n", {}, "has 2 columns of this name"),
        ("t.csv", b"1,1,x\n1,2,y\n", {}, "give --no-header"),
        ("t.csv", b"a,label\n1,x\n", {}, "has 1 class in this column"),
    ],
)  # fmt: skip
def test_a_file_that_is_read_wrongly(
    name: str, content: bytes, reading: dict[str, Any], message: str, tmp_path: Path
) -> None:
    assert message in refused(content, tmp_path, name, **reading)


# Numbers, categories, and what is neither


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.integers(-(10**9), 10**9), min_size=1, max_size=20),
    st.sampled_from([(".", ""), (".", ","), (",", "."), (",", " "), (".", "'"), (",", "")]),
)
def test_numbers_are_read_in_the_notation_in_which_they_are_written(whole: list[int], signs: tuple[str, str]) -> None:
    decimal, thousands = signs
    numbers = [each / 8 for each in whole]
    texts = [f"{number:,.3f}".replace(",", "_").replace(".", decimal).replace("_", thousands) for number in numbers]
    assert Notation(decimal, thousands).read(texts).tolist() == numbers


@pytest.mark.parametrize("text", ["1,5", "1_000", "0x1A", "1.2.3", "", "--1", "5 %", "1 000", "١"])
def test_what_is_no_plain_number(text: str) -> None:
    assert np.isnan(Notation().read([text])[0])


@pytest.mark.parametrize("text", ["1,00", "1,0000", ",100", "1,000,00", "1000,000"])
def test_groups_of_digits_have_three(text: str) -> None:
    assert np.isnan(Notation(".", ",").read([text])[0])


@pytest.mark.parametrize(
    ("values", "remedy"),
    [
        ([f"0,{n}1" for n in ROW], "give --decimal ',' if numbers are written like this, or --category-columns 'y'"),
        ([f"{n + 1},{100 + n}" for n in ROW], "give --thousands ',' or --decimal ','"),
        ([f"1.{100 + n},5" for n in ROW], "give --decimal ',' --thousands '.'"),
        ([f"1 {100 + n}" for n in ROW], "give --thousands ' '"),
        ([f"{n} %" for n in ROW], "write plain numbers without a unit"),
        ([f"€{n}" for n in ROW], "write plain numbers without a unit"),
        (["?" if n % 7 == 0 else n for n in ROW], "9 other value(s), such as '?'; give --na ? if that"),
        (["NA" if n % 7 == 0 else n for n in ROW], "give --na NA if that means missing"),
        ([f"2020-01-{n % 28 + 1:02d}" for n in ROW], "can't be features; give --leave-out 'y'"),
        ([f"{n % 28 + 1}.3.2020" for n in ROW], "can't be features"),
        ([f"3/{n % 28 + 1}/99 10:00" for n in ROW], "can't be features"),
        ([f"person {n}" for n in ROW], "60 distinct words in 60 rows are names rather than categories"),
        (["inf"] * 60, "60 row(s) with an infinite value"),
        (["1" if n else "" for n in ROW], "1 row(s) without a value in this column, the first is row 1; fill them in"),
    ],
)  # fmt: skip
def test_texts_that_are_no_categories_are_refused_with_the_remedy(values: Any, remedy: str, tmp_path: Path) -> None:
    text = refused(rows(y=values), tmp_path)
    assert text.startswith("column = y: ")
    assert remedy in text


@pytest.mark.parametrize(
    ("values", "reading", "numbers"),
    [
        ([f"{n + 1},{100 + n}" for n in ROW], {"thousands": ","}, [1000 * (n + 1) + 100 + n for n in ROW]),
        (["?" if n == 5 else n for n in ROW], {"na": "?", "missing": "mean"}, [None if n == 5 else n for n in ROW]),
        (["-9" if n == 5 else n for n in ROW], {"na": "-9", "missing": "mean"}, [None if n == 5 else n for n in ROW]),
        (["true" if n % 3 else "False" for n in ROW], {}, [float(n % 3 > 0) for n in ROW]),
        (["NaN" if n == 5 else n for n in ROW], {"missing": "mean"}, [None if n == 5 else n for n in ROW]),
    ],
)
def test_followed_the_remedies_give_numbers(values: Any, reading: Any, numbers: Any, tmp_path: Path) -> None:
    data = load(rows(y=values), tmp_path, **reading)
    plain = load(
        rows(y=pd.array(numbers, dtype="Float64")), tmp_path, "p.parquet", missing=reading.get("missing", "error")
    )
    assert kinds(data)["y"] == "number"
    assert inputs(data) == inputs(plain)


def test_what_looks_like_numbers_or_names_can_be_said_to_be_categories(tmp_path: Path) -> None:
    data = load(
        rows(zip=[f"0{n % 4}123" for n in ROW], name=[f"p{n}" for n in ROW]), tmp_path, category_columns="zip,name"
    )
    zips, names = data.encoding["columns"][1:]
    assert zips["categories"] == ["00123", "01123", "02123", "03123"]
    assert len(names["categories"]) == 60


def test_all_columns_with_something_wrong_are_named_at_once(tmp_path: Path) -> None:
    frame = rows(a=[f"p{n}" for n in ROW], b=["2020-01-01"] * 60, c=[f"{n} %" for n in ROW])
    assert refused(frame, tmp_path).endswith("also wrong: 'b', 'c'")


PARQUET: dict[str, Any] = {
    "decimals": ([Decimal(int(n)) / 4 for n in ROW], "number"),
    "texts of numbers": ([str(n / 4) for n in ROW], "number"),
    "whole numbers, some missing": (pd.array([None if n == 3 else n % 5 for n in ROW], dtype="Int64"), "number"),
    "truth, some missing": (pd.array([None if n == 3 else n % 5 > 1 for n in ROW], dtype="boolean"), "number"),
    "numbers as categories": (pd.Categorical(ROW % 3), "number"),
    "categories, some missing": (pd.Categorical([None if n == 3 else "abc"[n % 3] for n in ROW]), "category"),
}


@pytest.mark.parametrize("what", PARQUET)
def test_what_parquet_can_hold(what: str, tmp_path: Path) -> None:
    values, kind = PARQUET[what]
    data = load(rows(y=values), tmp_path, "t.parquet", missing="mean")
    assert kinds(data)["y"] == kind
    assert bool(torch.isfinite(data.train.inputs).all())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([[1, 2]] * 60, "neither numbers nor texts (ndarray)"),
        ([b"ab"] * 60, "neither numbers nor texts (bytes)"),
        ([{"a": 1}] * 60, "neither numbers nor texts (dict)"),
        ([datetime.date(2020, 1, 1)] * 60, "can't be features"),
        (pd.Timestamp("2020-01-01", tz="UTC"), "can't be features"),
        (pd.to_timedelta(ROW, unit="D"), "can't be features"),
    ],
)
def test_what_parquet_can_hold_and_nobody_can_learn_from(values: Any, message: str, tmp_path: Path) -> None:
    text = refused(rows(y=values), tmp_path, "t.parquet")
    assert text.startswith("column = y: ")
    assert message in text


def test_columns_of_parquet_may_be_called_by_numbers(tmp_path: Path) -> None:
    data = load(rows(y=ROW % 4).set_axis([0, 1, 2], axis=1), tmp_path, "t.parquet", label_column="2")
    assert list(kinds(data)) == ["0", "1"]


# Which columns are used


def test_only_what_is_used_is_checked(tmp_path: Path) -> None:
    frame = rows(gaps=[None if n % 2 else 1 for n in ROW], born="2020-01-01", name=[f"p{n}" for n in ROW])
    some = load(frame, tmp_path, columns="x")
    others = load(frame, tmp_path, leave_out="gaps,born,name")
    assert inputs(some) == inputs(others) == inputs(load(rows(), tmp_path))


def test_columns_without_a_name_or_a_value_are_left_out_and_told(tmp_path: Path) -> None:
    path = tmp_path / "indexed.csv"
    rows(empty=None).to_csv(path)
    data = load_dataset(f"table:{path}", None)
    assert list(kinds(data)) == ["x"]
    assert data.notes == ("column 1 has no name and is left out", "the column 'empty' has no values and is left out")


@pytest.mark.parametrize(
    ("reading", "message"),
    [
        ({"columns": "X"}, "columns = X: no such column"),
        ({"leave_out": "y"}, "leave_out = y: no such column"),
        ({"category_columns": "y"}, "category_columns = y: no such column"),
        ({"group": "y"}, "group = y: no such column"),
        ({"leave_out": "x"}, "has no column left as a feature"),
        ({"missing": "guess"}, "missing = guess: "),
    ],
)
def test_wrong_settings_are_named(reading: dict[str, str], message: str, tmp_path: Path) -> None:
    assert message in refused(rows(), tmp_path, **reading)


# Labels


@pytest.mark.parametrize(
    ("label", "classes"),
    [
        (ROW % 3 * 1.0, ("0", "1", "2")),
        (ROW % 12, tuple(map(str, range(12)))),
        (ROW % 2 == 0, ("False", "True")),
        (np.array(["<=50K", ">50K"])[ROW % 2], ("<=50K", ">50K")),
    ],
)
@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
def test_classes(label: Any, classes: tuple[str, ...], name: str, tmp_path: Path) -> None:
    data = load(rows().assign(label=label), tmp_path, name)
    assert data.classes == classes
    assert [data.classes[number] for number in data.test.targets] == [classes[number] for number in data.test.targets]
    assert len(set(data.test.targets.tolist())) == len(classes)


@pytest.mark.parametrize("label", [ROW / 7, ROW, [f"{n},5" for n in ROW]])
def test_measurements_and_names_are_no_classes(label: Any, tmp_path: Path) -> None:
    assert "label_column = label: " in refused(rows().assign(label=label), tmp_path)


def test_letters_are_26_classes_of_the_numbers_1_to_26(tmp_path: Path) -> None:
    data = load(pd.DataFrame({"x": np.arange(520) / 2, "label": np.arange(520) % 26 + 1}), tmp_path)
    assert data.classes == tuple(map(str, range(1, 27)))


def test_measurements_are_divided_into_classes_by_edges(tmp_path: Path) -> None:
    data = load(rows().assign(label=ROW / 10), tmp_path, label_edges="2,4.5")
    assert data.classes == ("below 2", "2 to 4.5", "4.5 and above")
    counts = np.bincount(np.concatenate([data.train.targets, data.test.targets]))
    assert counts.tolist() == [20, 25, 15]
    named = load(rows().assign(label=ROW / 10), tmp_path, label_edges="2", classes="low,high")
    assert named.classes == ("low", "high")
    assert "edges must be ascending" in refused(rows().assign(label=ROW / 10), tmp_path, label_edges="4,2")
    assert "edges need numbers" in refused(rows(), tmp_path, label_edges="4")


def test_na_is_a_class_unless_it_is_said_to_mean_missing(tmp_path: Path) -> None:
    frame = rows().assign(label=np.array(["NA", "EU", "AS"])[ROW % 3])
    data = load(frame, tmp_path)
    assert data.classes == ("AS", "EU", "NA")
    assert data.notes == ("'NA' in the column 'label' is read as a word; give --na NA if it means missing",)
    assert "20 row(s) without a value" in refused(frame, tmp_path, na="NA")
    assert load(frame, tmp_path, na="NA", missing="drop").classes == ("AS", "EU")


def test_rows_that_are_left_out_leave_rows_and_classes(tmp_path: Path) -> None:
    gone = rows(y=[1.0 if n < 30 else None for n in ROW], z=[1.0 if n >= 30 else None for n in ROW])
    assert "each row of" in refused(gone, tmp_path, missing="drop")
    ill = rows().assign(x=[1.0 if n % 2 else None for n in ROW])
    assert "has 1 class in this column, but training needs two or more" in refused(ill, tmp_path, missing="drop")


# What looks wrong


@pytest.mark.parametrize(
    ("column", "values", "note"),
    [
        ("number", ROW + 1000, "has a different whole number in each row; give --leave-out 'number' if it is an id"),
        (
            "patient_id",
            ROW // 3,
            "has a name like an id but is used as a feature; give --leave-out 'patient_id', or --group",
        ),
        ("ID", ROW // 3, "has a name like an id"),
        ("patientId", ROW // 3, "has a name like an id"),
        ("hospital", "A", "the column 'hospital' has the same value in all rows and carries no information"),
    ],
)
def test_notes(column: str, values: Any, note: str, tmp_path: Path) -> None:
    (told,) = load(rows(**{column: values}), tmp_path).notes
    assert note in told


@pytest.mark.parametrize("column", ["paid", "width", "humid", "idle", "rapid"])
def test_words_that_end_like_ids_are_none(column: str, tmp_path: Path) -> None:
    assert load(rows(**{column: ROW // 3}), tmp_path).notes == ()


# Groups


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_no_patient_is_on_two_sides(seed: int, tmp_path: Path) -> None:
    visit = np.arange(200)
    frame = pd.DataFrame({"x": visit % 17, "patient": visit // 10, "label": np.array(["ill", "well"])[visit // 10 % 2]})
    data = load(frame, tmp_path, group="patient", split_seed=seed)
    assert list(kinds(data)) == ["x"]
    divided = federate(data, Iid(), 3, seed)
    assert divided.validation is not None
    parts = [set(part.columns["patient"]) for part in (divided.train, divided.validation, data.test)]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 20
    for part in (divided.validation, data.test):
        assert set(part.targets.tolist()) == {0, 1}


@pytest.mark.parametrize("kind", ["int64", "Int64", "uint64", "object"])
def test_long_ids_of_neighbours_are_two_groups(kind: str, tmp_path: Path) -> None:
    """2^53 + 1 is no float64: the next one is 2^53."""
    ids = pd.Series(2**53 + ROW % 2, dtype=kind)
    found = load(rows(patient=ids), tmp_path, "t.parquet", group_columns="patient")
    assert {*found.train.columns["patient"]} == {"9007199254740992", "9007199254740993"}


def test_a_group_that_is_missing(tmp_path: Path) -> None:
    frame = rows(g=[None if n == 0 else f"g{n % 7}" for n in ROW])
    assert "column = g: " in refused(frame, tmp_path, group="g")
    assert len(load(frame, tmp_path, group="g", missing="drop").train.columns["g"]) < 59
