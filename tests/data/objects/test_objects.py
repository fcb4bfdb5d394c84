"""Data sets given as Python objects become the same samples, whatever they are given as; others are refused."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from sklearn.datasets import load_wine
from torch.utils.data import ConcatDataset, DataLoader, IterableDataset, Subset, TensorDataset
from torch.utils.data import Dataset as TorchDataset

import sglr
from sglr.core.errors import UsageError
from sglr.data.objects.options import Options
from sglr.data.objects.read import read_objects

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 3)).astype(np.float32)
Y = np.arange(60) % 3
NAMES = np.array(["cold", "mild", "warm"])
FRAME = pd.DataFrame(X, columns=["a", "b", "c"]).assign(kind=NAMES[Y])
PIXELS = RNG.integers(0, 256, (20, 8, 8, 3)).astype(np.uint8)


class Items(TorchDataset[Any]):
    """A data set as users write it."""

    def __init__(self, item: Callable[[int], Any], number: int = 20) -> None:
        self.item, self.number = item, number

    def __len__(self) -> int:
        return self.number

    def __getitem__(self, index: int) -> Any:
        return self.item(index)


class Stream(IterableDataset[Any]):
    """A data set that can be read once only."""

    def __iter__(self) -> Any:
        yield X[0], 0


def read(data: object, **options: Any) -> sglr.Dataset:
    return read_objects(data, Options.of(options))


def assert_same(found: sglr.Dataset, wanted: sglr.Dataset) -> None:
    for part in ("train", "test"):
        own, other = getattr(found, part), getattr(wanted, part)
        assert torch.equal(own.inputs, other.inputs)
        assert torch.equal(own.targets, other.targets)


@pytest.mark.parametrize(
    "data",
    [
        (torch.from_numpy(X), torch.from_numpy(Y)),
        (X.astype(np.float64), Y[:, None]),
        (X.tolist(), Y.tolist()),
        (X, pd.Series(Y, index=range(100, 160))),
        (X, pd.array(Y, dtype="Int64")),
        (X, Y.astype(float)),
        TensorDataset(torch.from_numpy(X), torch.from_numpy(Y)),
        Subset(TensorDataset(torch.from_numpy(X), torch.from_numpy(Y)), range(60)),
        ConcatDataset([Items(lambda i: (X[i], Y[i]), 30), Items(lambda i: (X[30 + i], Y[30 + i]), 30)]),
        Items(lambda i: (X[i], int(Y[i])), 60),
        Items(lambda i: (torch.from_numpy(X[i]), torch.tensor(Y[i])), 60),
        sglr.Samples(torch.from_numpy(X), torch.from_numpy(Y)),
        datasets.Dataset.from_dict({"x": X.tolist(), "label": Y.tolist()}),
        {"train": (X, Y)},
    ],
    ids=lambda data: type(data).__name__,
)
def test_all_forms_of_the_same_samples_are_the_same_data_set(data: object) -> None:
    wanted = read((X, Y))
    assert wanted.classes == ("0", "1", "2")
    assert (len(wanted.train), len(wanted.test)) == (48, 12)
    assert_same(read(data), wanted)


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (NAMES[Y], ("cold", "mild", "warm")),
        (pd.Series(NAMES[Y]), ("cold", "mild", "warm")),
        (pd.Categorical(NAMES[Y], categories=NAMES[::-1]), ("cold", "mild", "warm")),
        (NAMES[Y].astype("S"), ("cold", "mild", "warm")),
        (NAMES[Y].astype(object), ("cold", "mild", "warm")),
        (Y + 1, ("1", "2", "3")),
        (10 * Y, ("0", "10", "20")),
        (Y > 0, ("False", "True")),
        (np.where(Y > 0, 1, -1), ("-1", "1")),
    ],
)
def test_classes_are_the_sorted_labels(labels: Any, classes: tuple[str, ...]) -> None:
    found = read({"train": (X, labels), "test": (X, labels)})
    assert found.classes == classes
    assert [found.classes[number] for number in found.test.targets] == [
        label.decode() if isinstance(label, bytes) else str(label) for label in np.asarray(labels)
    ]


def test_parts_are_numbered_alike_and_kept() -> None:
    found = read({"train": (X[:40], NAMES[Y[:40]]), "TEST": (X[40:], NAMES[Y[40:]])})
    assert torch.equal(found.test.inputs, torch.from_numpy(X[40:]))
    assert found.test.targets.tolist() == Y[40:].tolist()


@given(st.integers(0, 99), st.floats(0.1, 0.6))
def test_the_test_part_is_drawn_by_its_seed_and_fraction(seed: int, fraction: float) -> None:
    one, other = (read((X, Y), split_seed=seed, test_fraction=fraction) for _ in range(2))
    assert_same(one, other)
    rows = torch.cat([one.train.inputs, one.test.inputs])
    assert sorted(rows[:, 0].tolist()) == sorted(X[:, 0].tolist())
    assert len(one.test) == int(np.ceil(60 * fraction))
    assert torch.bincount(one.test.targets).tolist() == pytest.approx([20 * fraction] * 3, abs=1.1)


def test_a_table_is_encoded_as_the_table_data_set_does(tmp_path: Path) -> None:
    FRAME.to_csv(tmp_path / "weather.csv", index=False)
    from sglr.data.load import load_dataset

    wanted = load_dataset(f"table:{tmp_path / 'weather.csv'}", None, {"label_column": "kind"})
    found = read(FRAME, label="kind")
    assert found.classes == wanted.classes == ("cold", "mild", "warm")
    for part in ("train", "test"):
        torch.testing.assert_close(getattr(found, part).inputs, getattr(wanted, part).inputs)
        assert torch.equal(getattr(found, part).targets, getattr(wanted, part).targets)
    assert_same(read((FRAME[["a", "b", "c"]], FRAME["kind"])), found)
    plain = datasets.Dataset.from_pandas(FRAME.rename(columns={"kind": "label"}))
    assert_same(read(plain), found)


def test_each_of_a_list_is_a_client(tmp_path: Path) -> None:
    sizes = [5 + client for client in range(11)]
    data = [(X[:size] + client, NAMES[Y[:size]]) for client, size in enumerate(sizes)]
    run = sglr.train("psl", dataset=data, model="mlp", epochs=1, batch_size=2, validation=0, out=tmp_path / "run")
    assert (run.settings["clients"], run.settings["partition"]) == (11, "natural")
    found = read(data)
    assert sorted({str(owner) for owner in found.train.columns["client"]}) == [f"{client:02d}" for client in range(11)]
    for client, size in enumerate(sizes):
        own = found.train.columns["client"] == f"{client:02d}"
        assert own.sum() == size - int(np.ceil(size / 5))
        assert (found.train.inputs[torch.from_numpy(own)].mean() - client).abs() < 1
    with pytest.raises(UsageError, match=r"clients = 3: the list of 11 data sets sets this already"):
        sglr.train("psl", dataset=data, clients=3)
    with pytest.raises(UsageError, match=r"partition = iid: the list of 11 data sets"):
        sglr.train("psl", dataset=data, partition="iid")


def test_tables_of_clients_are_encoded_alike() -> None:
    found = read([FRAME[:20], FRAME[20:]], label="kind")
    whole = torch.cat([found.train.inputs, found.test.inputs])
    assert found.train.inputs.shape[1] == 3
    assert set(found.train.columns["client"]) == {"0", "1"}
    assert found.train.inputs.mean(0).abs().max() < 1e-5  # standardised over all, not by each
    assert len(whole) == 60


@pytest.mark.parametrize(
    ("item", "shape"),
    [
        (lambda i: (Image.fromarray(PIXELS[i]), i % 2), (3, 8, 8)),
        (lambda i: (Image.fromarray(PIXELS[i]).convert("L"), i % 2), (1, 8, 8)),
        (lambda i: (PIXELS[i], i % 2), (3, 8, 8)),
        (lambda i: (torch.from_numpy(PIXELS[i]).permute(2, 0, 1), i % 2), (3, 8, 8)),
    ],
)
def test_pictures_are_scaled_to_one(item: Callable[[int], Any], shape: tuple[int, ...]) -> None:
    items = Items(item)
    items.classes = ["cat", "dog"]  # type: ignore[attr-defined]
    found = read(items)
    assert (found.input_shape, found.classes) == (shape, ("cat", "dog"))
    assert -1 <= float(found.train.inputs.min()) < -0.9 < 0.9 < float(found.train.inputs.max()) <= 1
    whole = torch.cat([found.train.inputs, found.test.inputs])
    if shape[0] == 3:
        first = torch.from_numpy(PIXELS[0]).permute(2, 0, 1) / 127.5 - 1
        assert (whole - first).abs().flatten(1).max(1).values.min() < 1e-5


def test_pictures_of_a_hub_data_set_have_the_names_of_their_classes() -> None:
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])})
    content = {"image": [Image.fromarray(pixels) for pixels in PIXELS], "label": [i % 2 for i in range(20)]}
    hub = datasets.Dataset.from_dict(content, features=features)
    assert_same(read(hub), read((PIXELS, np.arange(20) % 2)))
    found = read(datasets.DatasetDict(train=hub, test=hub.select(range(4))))
    assert (len(found.train), len(found.test), found.classes) == (20, 4, ("cat", "dog"))


def test_a_validation_part_is_used_as_such(tmp_path: Path) -> None:
    found = read({"train": (X[:30], Y[:30]), "val": (X[30:45], Y[30:45]), "test": (X[45:], Y[45:])})
    assert isinstance(found.validation, sglr.Samples)
    assert torch.equal(found.validation.inputs, torch.from_numpy(X[30:45]))
    tables = read({"train": FRAME[:30], "validation": FRAME[30:45], "test": FRAME[45:]}, label="kind")
    assert isinstance(tables.validation, sglr.Samples)
    assert [len(part) for part in (tables.train, tables.validation, tables.test)] == [30, 15, 15]
    assert tables.validation.targets.tolist() == Y[30:45].tolist()
    assert tables.train.inputs.mean(0).abs().max() < 1e-5
    assert not tables.train.columns
    hub = datasets.Dataset.from_pandas(FRAME.rename(columns={"kind": "label"}), preserve_index=False)
    splits = datasets.DatasetDict(train=hub.select(range(30)), validation=hub.select(range(30, 60)))
    assert len(read(splits).test) == 30  # without a test split the validation split is tested on
    with pytest.raises(UsageError, match=r"dataset\['val'\].inputs = nan: row 1"):
        read({"train": (X, Y), "val": (with_nan(1), Y)})


@pytest.mark.parametrize("group", ["", "patient"])
def test_without_a_test_part_only_training_rows_are_drawn_for_it(group: str) -> None:
    """Of tables as of arrays: validation rows are never trained on, and stay the validation part."""
    table = FRAME.assign(patient=np.arange(60) // 2)
    found = read({"train": table[:40], "validation": table[40:]}, label="kind", group=group, leave_out=["patient"])
    assert isinstance(found.validation, sglr.Samples)
    assert [len(part) for part in (found.train, found.test, found.validation)] == [32, 8, 20]
    column = found.encoding["columns"][0]
    first = {
        part: (getattr(found, part).inputs[:, 0] * column["std"] + column["mean"]).tolist()
        for part in ("train", "test", "validation")
    }
    assert sorted(first["train"] + first["test"]) == pytest.approx(sorted(X[:40, 0].tolist()), abs=1e-5)
    assert first["validation"] == pytest.approx(X[40:, 0].tolist(), abs=1e-5)
    assert not {*found.train.columns.get("patient", ())} & {*found.test.columns.get("patient", ())}


def test_options_of_tables_are_those_of_files() -> None:
    gaps = FRAME.assign(patient=np.arange(60) // 4, note="x").astype({"a": object})
    gaps.loc[3, "a"] = np.nan
    with pytest.raises(UsageError, match=r"column = a: the table has 1 row\(s\) without a value"):
        read(gaps, label="kind", leave_out="note", group="patient")
    found = read(gaps, label="kind", leave_out=["note"], group="patient", missing="drop")
    assert len(found.train) + len(found.test) == 59
    assert not {*found.train.columns["patient"]} & {*found.test.columns["patient"]}
    assert found.input_shape == (3,)
    with pytest.raises(UsageError, match=r"group = patient: only for tables, and the data set is not a table"):
        read((X, Y), group="patient")


def test_what_looks_wrong_is_noted() -> None:
    assert "no training sample has class 2" in read({"train": (X, Y % 2), "test": (X, Y)}).notes
    wine = load_wine()
    assert read((X, Y)).notes == ()
    assert "inputs reach 1" in read((wine.data, wine.target)).notes[0]
    assert "read as 8 channels" in read((PIXELS / 255, np.arange(20) % 2)).notes[0]
    items = Items(lambda i: (X[i], Y[i]))
    items.transform = print  # type: ignore[attr-defined]
    assert "was read once" in read(items).notes[0]


def with_nan(row: int) -> Any:
    spoiled = X.copy()
    spoiled[row, 1] = np.nan
    return spoiled


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (X, r"dataset = ndarray: has no labels; give \(X, y\)"),
        ([X, Y], r"dataset\[0\] = ndarray: has no labels"),
        ((X, Y, Y), r"dataset = 3 value\(s\): not a pair of inputs and labels"),
        (((X, Y), (X, Y)), r'dataset = tuple: .*give {"train": \(X, y\), "test": \(X_test, y_test\)}'),
        ((row for row in X), r"dataset = generator: can be read only once"),
        (Stream(), r"dataset = Stream: can be read only once"),
        (DataLoader(TensorDataset(torch.from_numpy(X), torch.from_numpy(Y))), r"DataLoader: .*loader.dataset"),
        (Items, r"dataset = Items: is a class; give an instance"),
        (Path("x.csv"), r"dataset = x.csv: is a path; give it as text: 'table:FILE.csv'"),
        (None, r"dataset = NoneType: not a data set"),
        ([], r"dataset = \[\]: is an empty list"),
        (load_wine(), r"dataset = 'data': not a part of a data set; .*or \(X, y\) alone"),
        ({"test": (X, Y)}, r"dataset = test: 'train' is missing"),
        ((X, Y[:5]), r"dataset.targets = 5 labels: there are 60 inputs"),
        ((X, np.eye(3)[Y]), r"dataset.targets = shape \[60, 3\]: .*argmax\(1\)"),
        ((X, Y - 1), r"dataset.targets = -1: row 0 has a label below 0"),
        ((X, np.arange(120).reshape(60, 2)), r"dataset.targets = shape .*several whole numbers; give label_kind"),
        ((X, np.arange(60)), r"dataset.targets = 0 to 59: there are 60 different labels in 60 samples"),
        ((X, np.zeros(60)), r"dataset.targets = 0: is the only class"),
        ((X, np.array([None, *NAMES[Y[1:]]])), r"dataset.targets = missing: row 0 has no label"),
        ((X, ["", *NAMES[Y[1:]]]), r"dataset.targets = missing: row 0 has no label"),
        ((X, np.array([1, *NAMES[Y[1:]]], dtype=object)), r"the label of row 1 is a str"),
        ((with_nan(7), Y), r"dataset.inputs = nan: row 7 is not finite"),
        ({"train": (X, Y), "test": (with_nan(3), Y)}, r"dataset\['test'\].inputs = nan: row 3"),
        ([(X, Y), (with_nan(7), Y)], r"dataset\[1\].inputs = nan: row 7"),
        ([(X, Y), (X[:, :2], Y)], r"dataset\[1\] = .*\[2\]: inputs of train differ from the first"),
        ([(X, Y), (X, NAMES[Y])], r"dataset.targets = labels: parts have labels of different kinds"),
        ([(X, Y), FRAME.rename(columns={"kind": "label"})], r"some parts are tables and others are arrays"),
        ([(X, Y), (X[:1], Y[:1])], r"dataset\[1\] test_fraction = 0.2: cannot divide 1 samples"),
        ((X.astype(object), Y), r"dataset.inputs = type object: values are not numbers"),
        (([[1.0], [1.0, 2.0]], [0, 1]), r"dataset.inputs = list: is not an array of numbers"),
        ((np.zeros((4, 3, 5, 3), np.uint8), [0, 1, 0, 1]), r"can't tell which dimension holds the colour channels"),
        (FRAME, r"dataset label = \(none\): the table has none of the columns label"),
        (Items(lambda i: {"x": X[i]}), r"dataset item 0 = Items: is a dict, not a pair"),
        (Items(lambda i: (X[i], 1 // (i - 4))), r"dataset item 4 = Items: can't be read \(ZeroDivisionError"),
        (
            Items(lambda i: (X[i, : 3 - i // 9], 0)),
            r"dataset item 9 = Items: is float32 \[2\], but item 0 is float32 \[3\]",
        ),
        (Items(lambda i: (X[i], np.eye(3)[i % 3])), r"dataset item 0 = ndarray: the label is .*argmax"),
        (Items(lambda i: (X[i], 0), 0), r"dataset.inputs = 0 samples: Items has no items"),
        (Items(lambda i: (Image.new("L", (8 + i // 9, 8)), i % 2)), r"item 9 = \(9, 8\): the first picture has size"),
        (
            Items(lambda i: (Image.new("I", (8, 8)), i % 2)),
            r"item 0 = picture of mode I: not an 8-bit picture",
        ),
    ],
)
def test_what_is_no_data_set_is_refused(data: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read(data)


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(UsageError, match=r"lable"):
        sglr.train("psl", dataset=(X, Y), lable="kind")


def test_a_run_goes_on_with_the_same_data_only(tmp_path: Path) -> None:
    run = sglr.train("sfl", dataset=FRAME, label="kind", model="mlp", clients=3, epochs=2, out=tmp_path / "run")
    assert run.settings["dataset"].startswith("<DataFrame ")
    weights = run.summary["weights_sha256"]
    (run.path / "summary.json").unlink()
    with pytest.raises(UsageError, match=r"dataset = <DataFrame .*was given as a Python object"):
        sglr.resume(run.path)
    with pytest.raises(UsageError, match=r"the run was made with <DataFrame .*, whose samples differ"):
        sglr.resume(run.path, dataset=FRAME.assign(a=FRAME["b"]), label="kind")
    assert sglr.resume(run.path, dataset=FRAME, label="kind").summary["weights_sha256"] == weights
    model = sglr.load_model(run.path, dataset=FRAME, label="kind")
    with torch.no_grad():
        scores = model(read(FRAME, label="kind").test.inputs)
    assert float((scores.argmax(1) == read(FRAME, label="kind").test.targets).float().mean()) == pytest.approx(
        run.summary["test"]["accuracy"]
    )


def test_a_comparison_takes_objects_and_does_not_mistake_other_data_for_finished_runs(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"model": "mlp", "clients": 3, "epochs": 1, "out": tmp_path / "both"}
    result = sglr.compare(["psl", "sfl"], dataset=(X, Y), **settings)
    assert [row["label"] for row in result.rows] == ["psl", "sfl"]
    with pytest.raises(UsageError, match=r"holds a run of another configuration \(dataset is <arrays"):
        sglr.compare(["psl", "sfl"], dataset=(X + 1, Y), **settings)


@pytest.mark.slow
def test_heavy_packages_are_imported_only_for_their_objects() -> None:
    code = (
        "import sys, numpy; from sglr.data.objects.read import read_objects;"
        "read_objects((numpy.eye(8), [0, 1] * 4)); print({'pandas', 'datasets', 'torchvision', 'PIL'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
