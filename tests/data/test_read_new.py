"""New data become inputs as those of the training did, whether their targets are known or not."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from sglr.core.data import Dataset
from sglr.core.errors import UsageError
from sglr.data.load import load_dataset
from sglr.data.new_samples import NewSamples, TrainedOn
from sglr.data.objects.read import read_objects
from sglr.data.read_new import read_new

DRAWN = np.random.default_rng(0)
CLASSES = ("high", "low")


def _by_class(root: Path, write: Callable[[Path, int], None]) -> None:
    for place, name in enumerate(CLASSES):
        (root / name).mkdir(parents=True)
        for number in range(4):
            write(root / name / f"{number}", place)


def _pictures(root: Path) -> dict[str, Any]:
    def write(path: Path, place: int) -> None:
        Image.fromarray(DRAWN.integers(100 * place, 255, (9, 7), dtype=np.uint8)).save(f"{path}.png")

    _by_class(root, write)
    return {"image_size": 6}


def _audio(root: Path) -> dict[str, Any]:
    soundfile = pytest.importorskip("soundfile")
    _by_class(root, lambda path, place: soundfile.write(f"{path}.wav", DRAWN.normal(0, 0.1, 900 + place), 8000))
    return {"rate": 4000, "seconds": 0.1}


def _series(root: Path) -> dict[str, Any]:
    _by_class(root, lambda path, place: np.save(f"{path}.npy", DRAWN.normal(place, 1, (12, 2))))
    return {}


def _texts(root: Path) -> dict[str, Any]:
    words = ("up above", "deep down")
    _by_class(root, lambda path, place: Path(f"{path}.txt").write_text(words[place] * int(DRAWN.integers(1, 4))))
    return {"length": 16}


def _volumes(root: Path) -> dict[str, Any]:
    nibabel = pytest.importorskip("nibabel")

    def write(path: Path, place: int) -> None:
        nibabel.save(nibabel.Nifti1Image(DRAWN.normal(place, 1, (4, 5, 3)), np.eye(4)), f"{path}.nii.gz")

    _by_class(root, write)
    return {"volume_size": (4, 4, 4)}


def _masks(root: Path) -> dict[str, Any]:
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    for number in range(6):
        Image.fromarray(DRAWN.integers(0, 255, (8, 8), dtype=np.uint8)).save(root / "images" / f"{number}.png")
        Image.fromarray(DRAWN.integers(0, 2, (8, 8), dtype=np.uint8)).save(root / "masks" / f"{number}.png")
    return {}


KINDS = {"folder": _pictures, "audio": _audio, "series": _series, "text": _texts, "volumes": _volumes, "masks": _masks}


def trained_on(dataset: Dataset) -> TrainedOn:
    inputs = dataset.train.inputs
    return TrainedOn(
        tuple(inputs.shape[1:]), str(inputs.dtype).removeprefix("torch."), dataset.targets, dataset.encoding
    )


def rows(inputs: Any) -> list[list[float]]:
    """Return inputs in an order of their own."""
    return sorted(row.flatten().tolist() for row in inputs[:])


def same(found: NewSamples, dataset: Dataset) -> bool:
    return rows(found.inputs) == rows(torch.cat([dataset.train.inputs[:], dataset.test.inputs[:]]))


@pytest.mark.parametrize("kind", KINDS)
def test_new_files_are_the_inputs_that_they_were_in_training(kind: str, tmp_path: Path) -> None:
    parameters = KINDS[kind](tmp_path / "data")
    dataset = load_dataset(f"{kind}:{tmp_path / 'data'}", None, parameters)
    trained = trained_on(dataset)
    known = read_new(tmp_path / "data", trained)
    assert same(known, dataset)
    assert known.targets is not None
    assert sorted(known.targets.flatten().tolist()) == sorted(
        torch.cat([dataset.train.targets, dataset.test.targets]).flatten().tolist()
    )
    if kind == "masks":
        for mask in (tmp_path / "data" / "masks").iterdir():
            mask.unlink()
        (tmp_path / "data" / "masks").rmdir()
    else:  # a name that is none of the classes
        (tmp_path / "data" / CLASSES[0]).rename(tmp_path / "data" / "unknown")
    unknown = read_new(tmp_path / "data", trained)
    assert unknown.targets is None
    assert same(unknown, dataset)
    assert len(set(unknown.ids)) == len(unknown)
    with pytest.raises(UsageError, match="no such file"):
        read_new(tmp_path / "other", trained)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=r"has no|give"):
        read_new(tmp_path / "empty", trained)


@pytest.mark.parametrize("kind", sorted({*KINDS} - {"masks"}))
def test_of_a_folder_with_parts_the_test_part_is_read_with_its_classes(kind: str, tmp_path: Path) -> None:
    parameters = KINDS[kind](tmp_path / "test")
    dataset = load_dataset(f"{kind}:{tmp_path / 'test'}", None, parameters)
    KINDS[kind](tmp_path / "train")
    found = read_new(tmp_path, trained_on(dataset))
    assert same(found, dataset) and found.targets is not None
    assert found.targets.tolist() == [0] * 4 + [1] * 4 and found.ids[0].startswith("high/")
    assert any(note.startswith(f"{tmp_path} has parts: these are the ") for note in found.notes)


def test_a_folder_called_test_is_a_part_only_beside_other_parts(tmp_path: Path) -> None:
    _series(tmp_path / "test")
    trained = trained_on(load_dataset(f"series:{tmp_path / 'test'}", None))
    (tmp_path / "val").mkdir()
    assert read_new(tmp_path, trained).targets is not None
    (tmp_path / "test" / "high" / "0.npy").write_bytes(b"none")
    with pytest.raises(UsageError, match=r"test/high/0\.npy: cannot be read"):
        read_new(tmp_path, trained)
    np.save(tmp_path / "test" / "high" / "0.npy", np.ones((12, 2)))
    _series(tmp_path / "other")
    found = read_new(tmp_path, trained)
    assert (found.targets, len(found), found.ids[0]) == (None, 16, "other/high/0.npy")
    (tmp_path / "train").mkdir()
    assert len(read_new(tmp_path, trained)) == 8
    (tmp_path / "Testing").mkdir()
    with pytest.raises(UsageError, match="has several folders of test series: Testing, test"):
        read_new(tmp_path, trained)


def test_tables_of_texts_and_of_series_need_no_classes(tmp_path: Path) -> None:
    lines = [f"{number},{'up above' if number % 2 else 'deep down'},{CLASSES[number % 2]}" for number in range(12)]
    (tmp_path / "texts.csv").write_text("\n".join(["name,text,label", *lines]))
    (tmp_path / "bare.csv").write_text("\n".join(line.rpartition(",")[0] for line in ["name,text,label", *lines]))
    dataset = load_dataset(f"text:{tmp_path / 'texts.csv'}", None, {"text_column": "text"})
    found = read_new(tmp_path / "bare.csv", trained_on(dataset), id_column="name")
    assert found.targets is None and found.ids[:2] == ("0", "1") and same(found, dataset)
    steps = [f"{one},{step},{one * step},{CLASSES[one % 2]}" for one in range(10) for step in range(5)]
    (tmp_path / "long.csv").write_text("\n".join(["who,when,pulse,label", *steps]))
    (tmp_path / "short.csv").write_text("\n".join(line.rpartition(",")[0] for line in ["who,when,pulse,label", *steps]))
    told = {"id_column": "who", "time_column": "when"}
    dataset = load_dataset(f"series:{tmp_path / 'long.csv'}", None, told)
    for file, known in (("long.csv", True), ("short.csv", False)):
        found = read_new(tmp_path / file, trained_on(dataset), **told)
        assert same(found, dataset) and (found.targets is not None) is known


def test_next_tokens_are_asked_of_every_sequence(tmp_path: Path) -> None:
    (tmp_path / "book.txt").write_text("all is well that ends well " * 20)
    dataset = load_dataset(f"text:{tmp_path / 'book.txt'}", None, {"length": 10})
    found = read_new(tmp_path / "book.txt", trained_on(dataset))
    assert found.ids[0] == "book.txt:1" and found.targets is not None and found.targets.shape == found.inputs.shape


def test_named_data_are_their_test_samples_and_others_are_refused() -> None:
    digits = load_dataset("digits", None)
    found = read_new("digits", trained_on(digits))
    assert torch.equal(found.inputs[:], digits.test.inputs[:]) and "360 test samples" in found.notes[0]
    with pytest.raises(UsageError, match="8,8"):
        read_new("digits", TrainedOn((1, 28, 28), "float32", digits.targets, digits.encoding))
    with pytest.raises(UsageError, match="id_column"):
        read_new("digits", trained_on(digits), id_column="name")


def test_each_case_keeps_its_own_channels_whatever_it_is_called(tmp_path: Path) -> None:
    """nnU-Net's names number cases and channels alike: the channels of ``case_0000`` are those of no other case."""
    nibabel = pytest.importorskip("nibabel")

    def save(path: Path, values: Any) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), path)

    for case in range(4):
        save(tmp_path / f"data/labelsTr/case_{case:04d}.nii.gz", np.eye(4, dtype=np.uint8)[..., None])
        for channel in range(2):
            values = np.full((4, 4, 1), 10 * case + channel, np.float32)
            save(tmp_path / f"data/imagesTr/case_{case:04d}_{channel:04d}.nii.gz", values)
    dataset = load_dataset(f"volumes:{tmp_path / 'data'}", None, {"window": (-100, 100)})
    found = read_new(tmp_path / "data/imagesTr", trained_on(dataset))
    shown = (100 * found.inputs[:].mean((2, 3, 4))).round().int()
    assert shown.tolist() == [[0, 1], [10, 11], [20, 21], [30, 31]]
    assert same(found, dataset)


def _idx(folder: Path, labels: list[int]) -> str:
    folder.mkdir(exist_ok=True)
    pixels = DRAWN.integers(0, 255, (len(labels), 4, 4), dtype=np.uint8)
    for name, values in (("images-idx3", pixels), ("labels-idx1", np.array(labels, np.uint8))):
        start = bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape)
        (folder / f"train-{name}-ubyte").write_bytes(start + values.tobytes())
    return f"idx:{folder}"


@pytest.mark.parametrize("first", [0, 1])
def test_labels_of_idx_files_are_the_classes_that_they_were_in_training(first: int, tmp_path: Path) -> None:
    """A new file need not hold all classes: from which label they count is told by their names, or by the user."""
    some, outside = [first + 1, first + 2, first + 1], [first + 4]
    own = _idx(tmp_path / "own", [first, first + 1, first + 2, first + 3] * 5)
    by_number, named = (
        trained_on(load_dataset(own, None, told))
        for told in ({}, {"classes": ("a", "b", "c", "d"), "first_label": first})
    )
    new = _idx(tmp_path / "new", some)
    for found in (read_new(new, by_number), read_new(new, named, first_label=first)):
        assert found.targets is not None and found.targets.tolist() == [1, 2, 1]
    with pytest.raises(UsageError, match=r"first_label = none: .* has no label 0, and the class a may be 0 or 1"):
        read_new(new, named)
    new = _idx(tmp_path / "new", outside)
    with pytest.raises(UsageError, match=rf"labels = {first + 4}: .* \({first} to {first + 3}\)"):
        read_new(new, by_number)
    if not first:
        found = read_new(_idx(tmp_path / "new", [0, 3]), named)
        assert found.targets is not None and found.targets.tolist() == [0, 3]


@pytest.mark.parametrize("gap", ["", "nan", "NaN"])
def test_a_gap_in_new_rows_is_treated_as_in_training_however_it_is_written(gap: str, tmp_path: Path) -> None:
    """Each of an empty cell and the words for nan is a missing number, never the mean that nobody asked for."""

    def trained(lines: list[str], **told: Any) -> TrainedOn:
        (tmp_path / "own.csv").write_text("\n".join(["age,label", *lines]))
        return trained_on(load_dataset(f"table:{tmp_path / 'own.csv'}", None, told))

    lines = [f"{age},{age + 0.5}" for age in range(20, 60)]
    told = {"label_edges": (30.0, 40.0)}
    (tmp_path / "new.csv").write_text(f"age,label\n30,31\n{gap},41\n50,{gap}\n")
    with pytest.raises(UsageError, match=r"column = age: .* has 1 row\(s\) without a value .* the first is row 2"):
        read_new(tmp_path / "new.csv", trained(lines, **told))
    dropping = trained([*lines, f"{gap},30"], **told, missing="drop")
    found = read_new(tmp_path / "new.csv", dropping)
    mean, std = (dropping.encoding["columns"][0][name] for name in ("mean", "std"))
    assert (found.inputs[:, 0] * std + mean).tolist() == pytest.approx([30, 50], abs=1e-4)
    assert found.ids == ("1", "3") and found.targets is None  # one of the rows left has no label
    marked = read_new(tmp_path / "new.csv", trained([*lines, *[f"{gap},30"] * 10], **told, missing="indicator"))
    assert marked.inputs[:, 1].tolist() == [0, 1, 0] and marked.inputs[1, 0] == 0


class Numbered:
    """A torch data set whose labels are places among the names of its classes."""

    classes = ("a", "b", "c")

    def __init__(self, labels: list[int]) -> None:
        self.labels = labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return np.full(4, index, np.float32), self.labels[index]


def test_labels_of_a_data_set_are_places_among_its_classes() -> None:
    trained = trained_on(read_objects(Numbered([0, 1, 2] * 10)))
    found = read_new(Numbered([0, 2]), trained)
    assert found.targets is not None and found.targets.tolist() == [0, 2]
    for label in (-1, 3):
        with pytest.raises(UsageError, match=rf"targets = {label}: row 1 of the data set has a label that is none of"):
            read_new(Numbered([0, label]), trained)


def test_new_arrays_are_pixels_only_where_the_trainings_were(tmp_path: Path) -> None:
    """Bytes are scaled to ±1. Floats that were not, and whole numbers of another type, have another scale."""
    pixels = DRAWN.integers(0, 256, (20, 1, 8, 8), dtype=np.uint8)
    trained = []
    for name, values in (("bytes", pixels), ("floats", (pixels / 255).astype(np.float32))):
        np.savez(tmp_path / f"{name}.npz", x=values, y=np.arange(20) % 2)
        trained.append(trained_on(load_dataset(f"arrays:{tmp_path / f'{name}.npz'}", None)))
    on_bytes, on_floats = trained
    np.testing.assert_allclose(read_new(pixels, on_bytes).inputs[:], pixels / 127.5 - 1, atol=1e-6)
    np.testing.assert_allclose(read_new(pixels / 255, on_floats).inputs[:], pixels / 255, atol=1e-6)
    (tmp_path / "new").mkdir()
    Image.fromarray(pixels[0, 0]).save(tmp_path / "new" / "a.png")
    assert read_new(tmp_path / "new", on_bytes).inputs.shape == (1, 1, 8, 8)
    with pytest.raises(UsageError, match="inputs = uint8: bytes are scaled to ±1 as pixels"):
        read_new(pixels, on_floats)
    with pytest.raises(UsageError, match="these are pictures, scaled to ±1, and the network was trained on arrays of"):
        read_new(tmp_path / "new", on_floats)
    _pictures(tmp_path / "pictures")
    on_pictures = trained_on(load_dataset(f"folder:{tmp_path / 'pictures'}", None, {"image_size": 8}))
    for network in (on_bytes, on_pictures):
        with pytest.raises(UsageError, match="inputs = int64: the network was trained on pixels"):
            read_new(pixels.astype(np.int64), network)
