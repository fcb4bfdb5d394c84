"""Inputs that stay in files are those that would be in memory, bit for bit, however they are indexed and read."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import sglr
from sglr.core import data as core
from sglr.core.data import StoredInputs
from sglr.core.errors import UsageError
from sglr.data.digest import entry_of
from sglr.data.objects.options import Options
from sglr.data.objects.read import read_objects
from sglr.data.stored import ArrayFile, JoinedInputs, StoredArray
from sglr.storage.checkpoint import read_checkpoint

SHAPE = (40, 9, 8)
DISK = Options(sample_store="disk")


def pictures(folder: Path, name: str = "x.npy", rows: int = 40, dtype: str = "uint8") -> Any:
    path = folder / name
    drawn = np.random.default_rng(0).integers(0, 255, (rows, *SHAPE[1:]))
    np.save(path, drawn.astype(dtype))
    return np.load(path, mmap_mode="r")


def labels(rows: int = 40) -> np.ndarray[Any, Any]:
    return np.arange(rows) % 4


@given(rows=st.lists(st.integers(0, 14), max_size=12), ahead=st.booleans(), grid=st.booleans())
@settings(max_examples=30, deadline=None)
def test_stored_inputs_are_indexed_like_a_tensor(
    tmp_path_factory: Any, rows: list[int], ahead: bool, grid: bool
) -> None:
    array = pictures(tmp_path_factory.mktemp("stored"))
    data = read_objects((array, labels()), DISK)
    whole, chosen = torch.from_numpy(array / np.float32(127.5) - 1)[:, None], torch.arange(39, -1, -2)
    stored = StoredArray(ArrayFile.of(array), lambda values: torch.from_numpy(values / np.float32(127.5) - 1)[:, None])
    joined = JoinedInputs([stored, stored.select(chosen.numpy())]).select(np.arange(59, 2, -3))
    wanted = torch.cat([whole, whole[chosen]])[torch.arange(59, 2, -3)]
    assert (len(joined), joined.shape, joined.dtype, joined.dim()) == (19, tuple(wanted.shape), wanted.dtype, 4)
    index = torch.tensor(rows * (2 if grid else 1), dtype=torch.int64)
    index = index.reshape(2, -1) if grid else index
    if ahead:
        joined.read_ahead(index.numpy().ravel())
    assert torch.equal(joined[index], wanted[index])
    assert torch.equal(joined[3], wanted[3])
    assert torch.equal(joined[1:17:4], wanted[1:17:4])
    assert torch.equal(torch.cat(list(joined.chunks())), wanted)
    there = copy.deepcopy(data.train.inputs.select(np.arange(5)))  # as another process gets it
    assert torch.equal(there[:], data.train.tensor[:5])


def trained(folder: Path, dataset: Any, **more: Any) -> tuple[dict[str, torch.Tensor], dict[str, Any], str]:
    run = sglr.train("sglr", dataset=dataset, clients=3, model="mlp", epochs=2, out=folder, validation=4, **more)
    return read_checkpoint(run.checkpoints[-1])[0], run.summary["test"], run.experiment.dataset


@pytest.mark.parametrize("stacking", ["stacked", "looped"])
def test_training_from_disk_gives_the_bits_of_training_from_memory(tmp_path: Path, stacking: str) -> None:
    array = pictures(tmp_path)
    found = [
        trained(tmp_path / store, (array, labels()), sample_store=store, stacking=stacking, partition="dirichlet")
        for store in ("memory", "disk")
    ]
    (memory, of_memory, name), (disk, of_disk, named) = found
    assert memory.keys() == disk.keys()
    assert all(torch.equal(memory[key], disk[key]) for key in memory)
    assert (of_memory, name) == (of_disk, named)


def test_auto_leaves_in_files_what_would_fill_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    array = pictures(tmp_path)
    held = read_objects((array, labels()))
    assert isinstance(held.train.inputs, torch.Tensor)
    monkeypatch.setattr("sglr.data.stored.memory_of", lambda device: 4 * 40 * 9 * 8)
    stored = read_objects((array, labels()))
    assert isinstance(stored.train.inputs, StoredInputs)
    assert entry_of(stored) == entry_of(held)
    owners = [(array, labels()), (pictures(tmp_path, "y.npy", 20), labels(20))]
    joined = read_objects(owners)
    assert isinstance(joined.train.inputs, JoinedInputs)
    assert torch.equal(joined.train.tensor, read_objects([(np.array(x), y) for x, y in owners]).train.tensor)


def test_values_that_are_not_finite_are_named_by_their_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures(tmp_path, dtype="float32")
    array = np.load(tmp_path / "x.npy", mmap_mode="r+")
    array[31, 2, 2] = np.nan
    monkeypatch.setattr(core, "CHUNK_BYTES", 4 * 9 * 8 * 7)
    with pytest.raises(UsageError, match="row 31 is not finite"):
        read_objects((array, labels()), DISK)


def test_a_view_of_rows_is_found_in_the_file(tmp_path: Path) -> None:
    array = pictures(tmp_path, rows=3000)
    file = ArrayFile.of(array[2500:2600])
    assert file is not None
    assert np.array_equal(file.open(), array[2500:2600])
    assert ArrayFile.of(array[::2]) is None
    assert ArrayFile.of(array / 2) is None


def test_data_sets_of_an_hdf5_file_are_read_in_any_order(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(40, 5))
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["scans"] = values
        data = read_objects((file["scans"], labels()), DISK)
        stored = copy.deepcopy(data.train.inputs)  # as another process gets it
        assert torch.equal(stored[:], read_objects((file["scans"], labels())).train.tensor)
        assert torch.equal(stored[torch.tensor([7, 3, 7])], stored[:][[7, 3, 7]])


def test_bad_input(tmp_path: Path) -> None:
    array = pictures(tmp_path)
    for pair, options, problem in [
        ((np.array(array), labels()), DISK, "give np.load"),
        ((array, labels()), Options(sample_store="dusk"), "did you mean"),  # type: ignore[arg-type]
    ]:
        with pytest.raises(UsageError, match=problem):
            read_objects(pair, options)
    data = read_objects((array, labels()), DISK)
    sent = copy.deepcopy(data.train.inputs)
    (tmp_path / "x.npy").write_bytes(b"short")
    with pytest.raises(UsageError, match="put back the file"):
        sent[0]
