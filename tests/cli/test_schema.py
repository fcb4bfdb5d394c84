"""`sglr schema` as a user types it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from sglr.cli.main import main
from sglr.core.errors import UsageError
from sglr.data.load import load_dataset

ROWS = "".join(
    f"{20 + number},{'NA' if number % 9 == 4 else number % 5},{'ill' if number % 3 else 'well'}\n"
    for number in range(60)
)
READING = ["--label-column", "outcome", "--na", "NA", "--missing", "mean"]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "patients.csv"
    path.write_text("age,score,outcome\n" + ROWS)
    return path


def test_a_schema_is_printed_edited_and_trained_by(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["schema", str(table), *READING]) == 0
    text = capsys.readouterr().out
    assert 'missing = "mean"' in text
    schema = tmp_path / "schema.toml"
    schema.write_text(text)
    training = ["--model", "mlp", "--clients", "2", "--epochs", "1", "--threads", "1", "--json", "--quiet"]
    weights = []
    for flags in (["--schema", str(schema)], READING[:2] + READING[4:]):
        assert (
            main(
                [
                    "train",
                    "--dataset",
                    f"table:{table}",
                    "--na",
                    "NA",
                    *flags,
                    *training,
                    "--out",
                    str(tmp_path / flags[0]),
                ]
            )
            == 0
        )
        weights.append(json.loads(capsys.readouterr().out)["weights_sha256"])
    assert weights[0] == weights[1]


def test_a_schema_as_json_is_all_that_is_printed(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema", str(table), "--json", *READING]) == 0
    printed = capsys.readouterr()
    content = json.loads(printed.out)
    assert [column["name"] for column in content["columns"]] == ["age", "score"]
    assert content["label"] == {"name": "outcome", "classes": ["ill", "well"], "missing": "drop"}


def test_what_cannot_be_read_is_told_and_nothing_printed(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema", str(table), "--label-column", "outcome"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "give --na NA if that means missing" in printed.err
    assert main(["schema", str(table), "--label-colum", "outcome"]) == 2
    assert main(["schema", str(table.with_name("no.csv"))]) == 2


def test_other_data_than_tables_have_a_schema_by_kind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    notes = tmp_path / "notes.csv"
    notes.write_text("text,label\n" + "".join(f"word {row},{'ab'[row % 2]}\n" for row in range(20)))
    assert main(["schema", f"text:{notes}", "--length", "9"]) == 0
    (tmp_path / "schema.toml").write_text(capsys.readouterr().out)
    assert main(["schema", f"text:{notes}", "--length", "9", "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    read = load_dataset(f"text:{notes}", None, {"schema": str(tmp_path / "schema.toml")})
    assert dict(read.encoding) == content
    stated = load_dataset("sites", None, {"schema": str(tmp_path / "schema.toml")})
    assert (stated.input_shape, stated.targets, stated.train.inputs.dtype) == ((9,), read.targets, torch.int64)
    assert main(["schema", "digits:x"]) == 2
    assert "no schema describes such data" in capsys.readouterr().err
    (tmp_path / "schema.toml").write_text('kind = "digits"')
    with pytest.raises(UsageError, match="no such kind of schema"):
        load_dataset("sites", None, {"schema": str(tmp_path / "schema.toml")})
