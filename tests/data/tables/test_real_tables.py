"""Tables as packages ship them: each trains with flags alone, once its remedies are followed."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest

from sglr.cli.main import main

TABLES = {
    "penguins.csv": (
        "palmerpenguins/data/penguins.csv",
        ["--label-column", "species", "--na", "NA", "--missing", "drop"],
        (10, ("Adelie", "Chinstrap", "Gentoo"), 333),
    ),
    "penguins.csv, sex": (
        "palmerpenguins/data/penguins.csv",
        ["--label-column", "sex", "--na", "NA", "--missing", "mean"],
        (11, ("female", "male"), 333),
    ),
    "penguins-raw.csv": (
        "palmerpenguins/data/penguins-raw.csv",
        [
            *("--label-column", "Species", "--na", "NA", "--missing", "indicator", "--group", "Individual ID"),
            *("--leave-out", "studyName,Sample Number,Date Egg,Comments"),
        ],
        (
            22,
            (
                "Adelie Penguin (Pygoscelis adeliae)",
                "Chinstrap penguin (Pygoscelis antarctica)",
                "Gentoo penguin (Pygoscelis papua)",
            ),
            344,
        ),
    ),
    "iris.csv": (
        "sklearn/datasets/data/iris.csv",
        ["--skip-rows", "1", "--no-header", "--label-column", "column_5"],
        (4, ("0", "1", "2"), 150),
    ),
    "breast_cancer.csv": (
        "sklearn/datasets/data/breast_cancer.csv",
        ["--skip-rows", "1", "--no-header", "--label-column", "column_31"],
        (30, ("0", "1"), 569),
    ),
    "wine_data.csv": (
        "sklearn/datasets/data/wine_data.csv",
        ["--skip-rows", "1", "--no-header", "--label-column", "column_14"],
        (13, ("0", "1", "2"), 178),
    ),
    "heart.csv": ("statsmodels/datasets/heart/heart.csv", ["--label-column", "censors"], (2, ("0", "1"), 69)),
    "modechoice.csv, separated by semicolons": (
        "statsmodels/datasets/modechoice/modechoice.csv",
        ["--label-column", "choice", "--group", "individual", "--category-columns", "mode"],
        (10, ("0", "1"), 840),
    ),
    "anes96.csv, separated by tabs": (
        "statsmodels/datasets/anes96/anes96.csv",
        ["--label-column", "vote"],
        (9, ("0", "1"), 944),
    ),
    "fertility.csv": (
        "statsmodels/datasets/fertility/fertility.csv",
        [
            *("--label-column", "2008", "--label-edges", "2.1", "--missing", "mean"),
            *("--leave-out", "Country Name,Country Code"),
        ],
        (53, ("below 2.1", "2.1 and above"), 205),
    ),
}


QUICK = ("penguins-raw.csv", "iris.csv", "modechoice.csv, separated by semicolons")
"""A header or none, what is missing, groups, categories and another separator."""


def shipped(path: str) -> Path:
    package, _, inside = path.partition("/")
    spec = find_spec(package)
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parent / inside


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow]) for name in TABLES]
)
def test_a_table_as_it_is_shipped_trains_with_flags_alone(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, reading, (inputs, classes, rows) = TABLES[name]
    out = tmp_path / "run"
    training = ["--model", "mlp", "--clients", "3", "--epochs", "1", "--threads", "1", "--json", "--quiet"]
    code = main(["train", "--dataset", f"table:{shipped(path)}", *reading, *training, "--out", str(out)])
    printed = capsys.readouterr()
    assert code == 0, printed.err
    assert 0 <= json.loads(printed.out)["test"]["accuracy"] <= 1
    assert main(["schema", str(shipped(path)), *reading, "--json"]) == 0
    schema = json.loads(capsys.readouterr().out)
    widths = [len(c.get("categories", "1")) + (c.get("missing") == "indicator") for c in schema["columns"]]
    assert sum(widths) == inputs
    assert tuple(schema["label"]["classes"]) == classes
    counted = json.loads((out / "classes.json").read_text())["counts"]
    held = round(rows * 0.2)
    assert abs(sum(map(sum, counted)) - 0.9 * (rows - held)) < 10  # a tenth is for validation


@pytest.mark.parametrize(
    ("path", "reading", "message"),
    [
        ("palmerpenguins/data/penguins.csv", ["--label-column", "species"], "give --na NA if that means missing"),
        ("palmerpenguins/data/penguins.csv", ["--label-column", "species", "--na", "NA"], "give --missing drop, mean"),
        ("sklearn/datasets/data/iris.csv", [], "if the first line is not a header, give --no-header"),
        ("sklearn/datasets/data/wine_data.csv", [], "or its format: --separator, --skip-rows, --no-header"),
        ("statsmodels/datasets/heart/heart.csv", ["--label-column", "survival"], "is it to be predicted (--task"),
        (
            "statsmodels/datasets/fertility/fertility.csv",
            ["--label-column", "2008", "--columns", "2000", "--missing", "drop"],
            "or divided (--label-edges",
        ),
    ],
)  # fmt: skip
def test_what_a_first_try_lacks_is_told(
    path: str, reading: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert main(["train", "--dataset", f"table:{shipped(path)}", *reading, "--model", "mlp", "--out", str(out)]) == 2
    assert message in capsys.readouterr().err
    assert not out.exists()
