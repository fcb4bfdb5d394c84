"""Data of one's own: tables, folders of pictures, and what Hugging Face's loader reads."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from sglr.core.errors import UsageError
from sglr.data.federate import federate
from sglr.data.load import load_dataset
from sglr.data.partitioners.iid import Iid
from sglr.data.partitioners.natural import Natural


def patients(rows: int = 60) -> pd.DataFrame:
    number = np.arange(rows)
    return pd.DataFrame(
        {
            "age": number * 1.5 + 20,
            "smoker": number % 3 == 0,
            "ward": np.array(["north", "south", "east"])[number % 3],
            "constant": 1,
            "hospital": np.array(["A", "B", "C", "D"])[number % 4],
            "outcome": np.array(["ill", "healthy"])[number % 2],
        }
    )


def write(frame: pd.DataFrame, path: Path) -> str:
    if path.suffix == ".csv":
        frame.to_csv(path, index=False)
    else:
        frame.to_parquet(path)
    return f"table:{path}"


def error(spec: str, **parameters: object) -> str:
    with pytest.raises(UsageError) as raised:
        load_dataset(spec, None, parameters)
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_a_table_is_standardised_and_encoded_by_its_training_rows(tmp_path: Path, ending: str) -> None:
    spec = write(patients(), tmp_path / f"patients{ending}")
    data = load_dataset(spec, None, {"label_column": "outcome", "group_columns": "hospital"})
    assert data.classes == ("healthy", "ill")
    assert (len(data.train), len(data.test)) == (48, 12)
    assert data.input_shape == (6,)  # age, smoker, three wards, constant
    age, wards, constant = data.train.inputs[:, 0], data.train.inputs[:, 2:5], data.train.inputs[:, 5]
    assert float(age.mean()) == pytest.approx(0, abs=1e-6)
    assert float(age.std(correction=0)) == pytest.approx(1, abs=1e-6)
    assert wards.sum(dim=1).tolist() == [1.0] * 48
    assert constant.tolist() == [0.0] * 48
    assert np.bincount(data.test.targets.numpy()).tolist() == [6, 6]
    divided = federate(data, Natural("hospital"), 4, 0, validation=0)
    assert [set(divided.train.columns["hospital"][rows.numpy()]) for rows in divided.indices] == [
        {"A"},
        {"B"},
        {"C"},
        {"D"},
    ]


def test_a_table_in_the_data_folder_is_found(tmp_path: Path) -> None:
    write(patients(), tmp_path / "patients.csv")
    assert len(load_dataset("table:patients.csv", tmp_path, {"label_column": "outcome"}).train) == 48


@pytest.mark.parametrize(
    ("change", "parameters", "message"),
    [
        ({}, {"label_column": "outcom"}, "did you mean 'outcome'?"),
        ({}, {"label_column": "outcome", "group_columns": "hospitl"}, "did you mean 'hospital'?"),
        ({}, {"label_column": "constant"}, "has 1 class in this column"),
        (
            {},
            {"label_column": "outcome", "test_fraction": 0},
            "test_fraction = 0.0: cannot divide 60 samples",
        ),
        ({"age": [np.nan] * 2 + [1.0] * 58}, {"label_column": "outcome"}, "column = age: "),
        ({"age": [np.nan] * 2 + [1.0] * 58}, {"label_column": "outcome"}, "has 2 row(s) without a value"),
        (
            {"age": [np.inf] * 3 + [1.0] * 57},
            {"label_column": "outcome"},
            "has 3 row(s) with an infinite value",
        ),
        (
            {"outcome": [None] + ["a", "b", "b"] * 19 + ["a", "a"]},
            {"label_column": "outcome"},
            "column = outcome",
        ),
    ],
)
@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_a_table_that_cannot_be_learnt_from(
    tmp_path: Path, ending: str, change: dict[str, object], parameters: dict[str, object], message: str
) -> None:
    spec = write(patients().assign(**change), tmp_path / f"patients{ending}")
    assert message in error(spec, **parameters)


def test_names_are_no_category(tmp_path: Path) -> None:
    frame = patients(200).assign(name=[f"person {number}" for number in range(200)])
    text = error(write(frame, tmp_path / "p.csv"), label_column="outcome")
    assert (
        "column = name: 200 distinct words in 200 rows are names rather than categories; give --leave-out 'name'"
        in text
    )


def test_dates_are_no_feature(tmp_path: Path) -> None:
    frame = patients().assign(born=pd.Timestamp("2000-01-01"))
    text = error(write(frame, tmp_path / "p.parquet"), label_column="ward")
    assert text.startswith("column = born: ")
    assert "dates can't be features; give --leave-out 'born'" in text


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"", "cannot be read as text (No columns to parse"),
        ("a.csv", b"a,b\n1,2\n1,2,3,4\n", "cannot be read as text (Expected 2 fields"),
        ("a.csv", b"a,label\n", "has no rows"),
        ("a.parquet", b"PAR1 no parquet", "cannot be read as Parquet"),
        ("a.xlsx", b"", "not a file name of a table; give a file that ends in .csv"),
    ],
)
def test_a_file_that_is_no_table(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    assert message in error(f"table:{tmp_path / name}")


def paint(folder: Path, count: int, colour: tuple[int, int, int] | int, size: int = 6) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    mode = "L" if isinstance(colour, int) else "RGB"
    for number in range(count):
        Image.new(mode, (size, size + number % 2), colour).save(folder / f"{number}.png")


def test_a_folder_of_pictures(tmp_path: Path) -> None:
    paint(tmp_path / "red", 10, (255, 0, 0))
    paint(tmp_path / "grey", 5, 51)
    data = load_dataset(f"folder:{tmp_path}", None, {"image_size": 8})
    assert data.classes == ("grey", "red")
    assert data.input_shape == (3, 8, 8)
    assert (len(data.train), len(data.test)) == (12, 3)
    for pixels, target in zip(data.train.inputs[:, :, 0, 0], data.train.targets, strict=True):
        expected = [1, -1, -1] if target == 1 else [-0.6, -0.6, -0.6]
        assert pixels.tolist() == pytest.approx(expected, abs=1e-6)


def test_a_folder_with_its_own_test_pictures(tmp_path: Path) -> None:
    for part, count in (("train", 4), ("test", 2)):
        paint(tmp_path / part / "dark", count, 0)
        paint(tmp_path / part / "light", count, 255)
    data = load_dataset(f"folder:{tmp_path}", None)
    assert (len(data.train), len(data.test), data.input_shape) == (8, 4, (1, 32, 32))
    paint(tmp_path / "test" / "other", 1, 0)
    assert "train and test have different classes: other" in error(f"folder:{tmp_path}")


def test_a_folder_that_cannot_be_learnt_from(tmp_path: Path) -> None:
    assert "no path; give it after a colon, as in folder:PATH" in error("folder")
    assert "check the path" in error(f"folder:{tmp_path / 'absent'}")
    assert "has 0 subfolder(s)" in error(f"folder:{tmp_path}")
    paint(tmp_path / "a", 2, 0)
    assert "has 1 subfolder(s), and training needs two or more classes" in error(f"folder:{tmp_path}")
    (tmp_path / "b").mkdir()
    assert f"{tmp_path / 'b'}: has no pictures" in error(f"folder:{tmp_path}")
    (tmp_path / "b" / "broken.png").write_bytes((tmp_path / "a" / "0.png").read_bytes()[:40])
    assert "broken.png: cannot be read as a picture" in error(f"folder:{tmp_path}")
    paint(tmp_path / "b", 2, 0)
    (tmp_path / "b" / "broken.png").unlink()
    assert "differ in size, from 6 x 6 (a/0.png) to 7 x 6 (a/1.png)" in error(f"folder:{tmp_path}", image_size="none")


@pytest.fixture
def hub_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))


@pytest.mark.usefixtures("hub_cache")
def test_hugging_face_pictures(tmp_path: Path) -> None:
    for part in ("train", "test"):
        paint(tmp_path / part / "dark", 3, 0)
        paint(tmp_path / part / "light", 3, 255)
    data = load_dataset(f"hf:{tmp_path}", None, {"image_size": 8})
    assert data.classes == ("dark", "light")
    assert data.input_shape == (1, 8, 8)
    assert data.test.inputs[:, 0, 0, 0].tolist() == [2 * target - 1 for target in data.test.targets.tolist()]


@pytest.mark.usefixtures("hub_cache")
def test_hugging_face_numbers(tmp_path: Path) -> None:
    patients().rename(columns={"outcome": "label"}).to_parquet(tmp_path / "train.parquet")
    data = load_dataset(f"hf:{tmp_path}", None, {"group_columns": "hospital"})
    assert data.classes == ("healthy", "ill")
    assert (len(data.train), len(data.test), data.input_shape) == (48, 12, (6,))
    assert "did you mean 'label'?" in error(f"hf:{tmp_path}", label_column="labl")


# Classes that were agreed with others


def picture_folder(root: Path, counts: dict[str, int]) -> Path:
    for name, count in counts.items():
        (root / name).mkdir(parents=True)
        for number in range(count):
            Image.new("L", (8, 8), 10 * number).save(root / name / f"{number}.png")
    return root


def idx_pair(folder: Path, labels: list[int], part: str = "train") -> Path:
    folder.mkdir(exist_ok=True)
    images = np.arange(len(labels) * 16, dtype=np.uint8).reshape(-1, 4, 4)
    header = bytes([0, 0, 8, 3]) + struct.pack(">3I", *images.shape)
    (folder / f"{part}-images-idx3-ubyte").write_bytes(header + images.tobytes())
    header = bytes([0, 0, 8, 1]) + struct.pack(">I", len(labels))
    (folder / f"{part}-labels-idx1-ubyte").write_bytes(header + bytes(labels))
    return folder


def test_a_folder_keeps_to_classes_that_are_given_and_may_lack_some(tmp_path: Path) -> None:
    root = picture_folder(tmp_path / "pictures", {"cat": 4, "owl": 3})
    data = load_dataset(f"folder:{root}", None, {"classes": "owl,dog,cat"})
    assert data.classes == ("owl", "dog", "cat")
    assert set(data.train.targets.tolist()) == {0, 2}
    assert "classes = cat: " in error(f"folder:{root}", classes="owl,dog")
    assert "known: owl, dog" in error(f"folder:{root}", classes="owl,dog")


def test_a_folder_of_one_class_will_do_where_the_classes_are_given(tmp_path: Path) -> None:
    root = picture_folder(tmp_path / "pictures", {"cat": 4})
    assert load_dataset(f"folder:{root}", None, {"classes": ("cat", "dog")}).train.targets.tolist() == [0, 0, 0]
    assert "training needs two or more classes" in error(f"folder:{root}")


@pytest.mark.parametrize("as_float", [False, True])
def test_a_table_keeps_to_classes_that_are_given(tmp_path: Path, as_float: bool) -> None:
    frame = pd.DataFrame({"x": np.arange(10.0), "label": [7, 3] * 5})
    frame["label"] = frame["label"].astype(float if as_float else int)
    spec = write(frame, tmp_path / "t.csv")
    data = load_dataset(spec, None, {"classes": "3,5,7"})
    assert data.classes == ("3", "5", "7")
    assert set(data.train.targets.tolist()) == {0, 2}
    assert "classes = 7: the column 'label'" in error(spec, classes="3,5")


def test_idx_files_of_ones_own(tmp_path: Path) -> None:
    folder = idx_pair(tmp_path / "idx", [0, 1, 2, 1, 0, 1, 2, 1, 0, 2])
    data = load_dataset(f"idx:{folder}", None)
    assert (len(data.train), len(data.test), data.input_shape) == (8, 2, (1, 4, 4))
    assert data.classes == ("0", "1", "2")
    named = load_dataset(f"idx:{folder / 'train-images-idx3-ubyte'}", None, {"classes": "a,b,c,d", "image_size": 8})
    assert (named.classes, named.input_shape) == (("a", "b", "c", "d"), (1, 8, 8))
    assert named.train.targets.tolist() == data.train.targets.tolist()
    assert "has label 2, outside the classes 0 to 1" in error(f"idx:{folder}", classes="a,b")


def test_idx_files_of_test_images_are_the_test_part(tmp_path: Path) -> None:
    folder = idx_pair(tmp_path / "idx", [0, 1, 0, 1])
    idx_pair(folder, [1, 0], "t10k")
    data = load_dataset(f"idx:{folder}", None)
    assert (data.train.targets.tolist(), data.test.targets.tolist()) == ([0, 1, 0, 1], [1, 0])


def test_idx_files_that_are_not_there_or_too_many(tmp_path: Path) -> None:
    folder = idx_pair(tmp_path / "idx", [0, 1, 0, 1])
    (folder / "train-labels-idx1-ubyte").unlink()
    assert "label file not found beside the images" in error(f"idx:{folder}")
    idx_pair(folder, [0, 1], "other")
    assert "has several image files" in error(f"idx:{folder}")
    (tmp_path / "empty").mkdir()
    assert "has no image file" in error(f"idx:{tmp_path / 'empty'}")


def test_labels_that_count_from_one_leave_no_class_empty(tmp_path: Path) -> None:
    folder = idx_pair(tmp_path / "letters", [1, 2, 3] * 4)
    data = load_dataset(f"idx:{folder}", None)
    assert data.classes == ("1", "2", "3")
    assert set(data.train.targets.tolist()) == {0, 1, 2}
    assert "3 classes are given" in error(f"idx:{folder}", classes="a,b,c")
    assert "give --first-label 1" in error(f"idx:{folder}", classes="a,b,c")
    named = load_dataset(f"idx:{folder}", None, {"classes": "a,b,c", "first_label": 1})
    assert torch.equal(named.train.targets, data.train.targets)
    assert "have the label 1; give 1 or less" in error(f"idx:{folder}", first_label=2)
    kept = load_dataset(f"idx:{folder}", None, {"first_label": 0})
    assert kept.classes == ("0", "1", "2", "3")
    assert "there is no training sample of class 0" in federate(kept, Iid(), 1, 0).notes


def test_emnists_own_file_names_tell_the_test_images(tmp_path: Path) -> None:
    folder = idx_pair(tmp_path / "idx", [1, 2, 1, 2], "emnist-letters-train")
    idx_pair(folder, [2, 1], "emnist-letters-test")
    data = load_dataset(f"idx:{folder}", None)
    assert (data.train.targets.tolist(), data.test.targets.tolist()) == ([0, 1, 0, 1], [1, 0])


def test_classes_without_samples_are_told(tmp_path: Path) -> None:
    root = picture_folder(tmp_path / "pictures", {"cat": 4, "owl": 3})
    data = load_dataset(f"folder:{root}", None, {"classes": "a,b,cat,c,d,owl"})
    assert federate(data, Iid(), 1, 0).notes[-2:] == (
        "there is no training sample of class a, b, c and 1 more",
        "there is no test sample of class a, b, c and 1 more",
    )
