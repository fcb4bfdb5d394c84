"""The shape of a data set is known without its files, and is that of the files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sglr.core.errors import UsageError
from sglr.core.registry import DATASETS
from sglr.data.load import load_dataset
from sglr.data.shape import dataset_shape


@pytest.mark.parametrize(
    ("name", "input_shape", "classes", "samples"),
    [
        ("digits", (1, 8, 8), 10, 1294),
        ("mnist", (1, 28, 28), 10, 50_000),
        ("fashion-mnist", (1, 28, 28), 10, 50_000),
        ("cifar10", (3, 32, 32), 10, 45_000),
        ("cifar100", (3, 32, 32), 100, 45_000),
    ],
)
def test_known_without_files(name, input_shape, classes, samples, tmp_path):
    shape = dataset_shape(name, tmp_path)
    assert (shape.input_shape, shape.classes, shape.samples) == (input_shape, classes, samples)


def test_resized_as_its_parameters_say():
    resized = dataset_shape("fashion-mnist", parameters={"image_size": 32, "image_channels": 3})
    assert resized.input_shape == (3, 32, 32)


def _at_hand(name: str) -> bool:
    return name == "digits" or (Path(os.environ.get("SGLR_DATA_DIR", "/nonexistent")) / name).is_dir()


@pytest.mark.parametrize("name", [name for name in DATASETS.names() if hasattr(DATASETS.load(name), "stored")])
def test_what_is_told_is_what_is_loaded(name):
    if not _at_hand(name):
        pytest.skip(f"{name} is not in SGLR_DATA_DIR")
    told, loaded = DATASETS.load(name).stored, load_dataset(name, None)
    assert told.input_shape == loaded.input_shape
    assert told.classes == len(loaded.classes)
    assert told.train == len(loaded.train)
    assert told.validation == (loaded.validation or len(loaded.train) // 10)


def test_a_table_is_read(tmp_path):
    rows = "\n".join(f"{n},{n * 2},{'ab'[n % 2]}" for n in range(50))
    (tmp_path / "t.csv").write_text(f"x,y,label\n{rows}\n")
    shape = dataset_shape(f"table:{tmp_path / 't.csv'}")
    assert (shape.input_shape, shape.classes, shape.train, shape.samples) == ((2,), 2, 40, 36)


def test_an_unknown_name_is_refused():
    with pytest.raises(UsageError, match="did you mean 'fashion-mnist'"):
        dataset_shape("fashion-mnits")
