"""Arrays in files, as their owners pack them: MedMNIST's names, x and y, HDF5, Parquet; what can't be read is named."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
import torch

from sglr.core.data import Dataset, StoredInputs
from sglr.core.errors import UsageError
from sglr.core.task import Targets
from sglr.data.load import load_dataset

RNG = np.random.default_rng(0)
N = 30
CLASSES = (np.arange(N) % 3).astype(np.uint8)[:, None]
FINDINGS = (RNG.random((N, 14)) < 0.3).astype(np.uint8)
PIXELS = {
    "2-D": (RNG.integers(0, 256, (N, 8, 8), dtype=np.uint8), (1, 8, 8)),
    "colour": (RNG.integers(0, 256, (N, 8, 8, 3), dtype=np.uint8), (3, 8, 8)),
    "3-D": (RNG.integers(0, 256, (N, 8, 8, 8), dtype=np.uint8), (1, 8, 8, 8)),
}


def read(path: Path, **parameters: Any) -> Dataset:
    return load_dataset(f"arrays:{path}", None, parameters)


@pytest.mark.parametrize("kind", PIXELS)
def test_medmnists_files_are_pictures_or_volumes_in_three_parts(kind: str, tmp_path: Path) -> None:
    pixels, shape = PIXELS[kind]
    cut = {"train": slice(0, 20), "val": slice(20, 24), "test": slice(24, N)}
    for labels in (CLASSES, FINDINGS):
        file = tmp_path / f"{len(labels[0])}.npz"
        packed = {f"{part}_images": pixels[rows] for part, rows in cut.items()}
        np.savez_compressed(file, **packed, **{f"{part}_labels": labels[rows] for part, rows in cut.items()})
        dataset = read(file)
        assert isinstance(dataset.validation, type(dataset.train))
        assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (20, 4, 6)
        assert dataset.input_shape == shape
        assert dataset.train.targets.tolist() == labels[:20].squeeze().tolist()
        first = torch.from_numpy(pixels[20:24]).float() / 127.5 - 1
        moved = first.movedim(3, 1) if kind == "colour" else first[:, None]
        assert torch.equal(dataset.validation.tensor, moved)
    assert read(tmp_path / "1.npz").classes == ("0", "1", "2")
    assert read(tmp_path / "14.npz").targets == Targets(shape=(14,), classes=2)


X, DAYS = RNG.normal(size=(N, 4)).astype(np.float32), RNG.normal(size=N)


def npz(path: Path, arrays: dict[str, Any]) -> Path:
    np.savez(path.with_suffix(".npz"), **arrays)
    return path.with_suffix(".npz")


def npy(path: Path, arrays: dict[str, Any]) -> Path:
    path.mkdir()
    for name, array in arrays.items():
        np.save(path / f"{name}.npy", array)
    return path


def hdf5(path: Path, arrays: dict[str, Any]) -> Path:
    with h5py.File(path.with_suffix(".h5"), "w") as file:
        for name, array in arrays.items():
            file[name] = array
    return path.with_suffix(".h5")


def parquet(path: Path, arrays: dict[str, Any]) -> Path:
    pd.DataFrame({name: list(array) for name, array in arrays.items()}).to_parquet(path.with_suffix(".parquet"))
    return path.with_suffix(".parquet")


@pytest.mark.parametrize("write", [npz, npy, hdf5, parquet])
def test_each_form_gives_the_same_samples(write: Callable[[Path, dict[str, Any]], Path], tmp_path: Path) -> None:
    names = {"inputs": "signal", "targets": "stay"}
    dataset = read(write(tmp_path / "own", {"signal": X, "stay": DAYS, "ids": np.arange(N)}), **names)
    wanted = read(npz(tmp_path / "usual", {"x": X, "y": DAYS}))
    assert wanted.targets == Targets(dtype="float32")
    assert torch.equal(dataset.train.tensor, wanted.train.tensor)
    assert torch.equal(dataset.test.targets, wanted.test.targets)
    classes = read(
        write(tmp_path / "classes", {"x_train": X, "y_train": CLASSES[:, 0], "x_test": X, "y_test": CLASSES[:, 0]})
    )
    assert classes.classes == ("0", "1", "2")


@pytest.mark.parametrize("write", [npy, hdf5])
def test_large_files_stay_on_disk(write: Callable[[Path, dict[str, Any]], Path], tmp_path: Path) -> None:
    path = write(tmp_path / "big", {"images": PIXELS["2-D"][0], "labels": CLASSES})
    stored, held = (read(path, sample_store=store) for store in ("disk", "memory"))
    assert isinstance(stored.train.inputs, StoredInputs)
    assert torch.equal(stored.train.tensor, held.train.tensor)


def test_masks_have_the_size_of_their_pictures(tmp_path: Path) -> None:
    pixels = PIXELS["2-D"][0]
    dataset = read(npz(tmp_path / "masks", {"images": pixels, "masks": pixels % 3}))
    assert dataset.targets == Targets(shape=(8, 8), dtype="uint8", classes=3)
    with_channel = read(npz(tmp_path / "channel", {"images": pixels, "masks": (pixels % 3)[..., None]}))
    assert torch.equal(with_channel.train.targets, dataset.train.targets)


def headed(shape: str, content: bytes = b"") -> Callable[[Path], Path]:
    def write(path: Path) -> Path:
        head = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
        with zipfile.ZipFile(path / "own.npz", "w") as archive:
            archive.writestr("x.npy", b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head.encode() + content)
        return path / "own.npz"

    return write


def saved(**arrays: Any) -> Callable[[Path], Path]:
    return lambda path: npz(path / "own", arrays)


def bytes_of(name: str, content: bytes) -> Callable[[Path], Path]:
    def write(path: Path) -> Path:
        (path / name).write_bytes(content)
        return path / name

    return write


def ragged(path: Path) -> Path:
    return parquet(path / "own", {"x": [[1.0]] * 9 + [[1.0, 2.0]], "y": [0, 1] * 5})


PICTURES = PIXELS["2-D"][0]


@pytest.mark.parametrize(
    ("write", "parameters", "message"),
    [
        (saved(a=X, b=DAYS), {}, r"targets = none|inputs = none: .*give --inputs NAME; arrays: a, b"),
        (saved(x=X, b=DAYS), {}, r"targets = none: .*no usual name for the targets of train; give --targets NAME"),
        (saved(x=X, y=DAYS), {"inputs": "z"}, r"inputs = z: .*no array of this name"),
        (saved(x=X, images=X, y=DAYS), {}, r"inputs = none: .*x and images may both be inputs"),
        (saved(x=X, y=DAYS[:5]), {}, r"5 labels: there are 30 inputs"),
        (saved(x=X, y=np.float64(1)), {}, r"y = is a single number|is a single number"),
        (saved(x=X, y=np.where(DAYS > 1, np.nan, DAYS)), {}, r"targets = nan: row \d+ is missing or infinite"),
        (saved(x=np.full((N, 4), np.nan), y=CLASSES), {}, r"inputs = nan: row 0 is not finite"),
        (saved(x=X, y=np.eye(3)[CLASSES[:, 0]]), {}, r"shape \[30, 3\]: each row has a single 1.*argmax"),
        (saved(x=X, y=np.arange(60).reshape(N, 2)), {}, r"several whole numbers; give label_kind=.numbers"),
        (saved(x=X, y=FINDINGS + 1), {"label_kind": "findings"}, r"findings are 0 or 1"),
        (saved(x=X, y=np.array(["a", "b"] * 15)), {"label_kind": "numbers"}, r"label_kind = numbers needs numbers"),
        (saved(images=PICTURES, masks=PICTURES[:, :4]), {}, r"masks of shape \[4, 8\]: inputs are 8 x 8"),
        (saved(images=PICTURES, masks=(PICTURES > 9) * 255), {}, r"no class but 0 .*mask // 255"),
        (saved(images=PICTURES, masks=PICTURES / 2), {}, r"row 0 of the masks has fractions"),
        (saved(x=np.array([{}] * N, dtype=object), y=CLASSES), {}, r"holds Python objects, which are not unpickled"),
        (saved(), {}, r"has no arrays"),
        (saved(x=X, y=CLASSES), {"sample_store": "disk"}, r"sample_store = disk: .*packed"),
        (headed("(9000000000000, 9)"), {}, r"header states 324000000000000 bytes, and there are 0"),
        (headed("(-1, 9)"), {}, r"header states|can't be read"),
        (headed("('a',)"), {}, r"can't be read"),
        (bytes_of("own.npz", b"PK no zip"), {}, r"can't be read"),
        (bytes_of("own.h5", b"no hdf5"), {}, r"can't be read"),
        (bytes_of("own.parquet", b"no parquet"), {}, r"can't be read"),
        (bytes_of("own.mat", b""), {}, r"not a file of arrays; give a .npz"),
        (ragged, {}, r"column = x: .* has lists of 2 lengths"),
    ],
)
def test_rubbish_is_refused_by_name(
    write: Callable[[Path], Path], parameters: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=message) as raised:
        read(write(tmp_path), **parameters)
    assert "\n" not in str(raised.value)
