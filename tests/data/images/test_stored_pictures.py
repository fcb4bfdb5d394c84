"""Pictures that are decoded when they are used have the bits, the notes and the errors of those in memory."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import sglr
from sglr.core.data import Dataset, Samples, StoredInputs
from sglr.core.errors import UsageError
from sglr.data.load import load_dataset
from sglr.storage.checkpoint import read_checkpoint


def write(root: Path, kind: str, number: int = 12) -> str:
    rng = np.random.default_rng(1)
    for label in ("cat", "dog"):
        for part in ("train", "test") if kind == "parts" else ("",):
            folder = root / part / label
            folder.mkdir(parents=True)
            for place in range(number):
                if kind == "scans":
                    values = rng.integers(100, 4000, (9, 8)).astype(np.uint16)
                    Image.fromarray(values).save(folder / f"{place}.png")
                    continue
                grey = part != "test" and (place % 2 == 0 or kind == "grey")
                values = rng.integers(0, 255, (20 + place, 17) if grey else (20 + place, 17, 3)).astype(np.uint8)
                Image.fromarray(values).save(folder / f"{place}.{'jpg' if place % 3 else 'png'}")
    return f"folder:{root}"


def both(spec: str, **parameters: Any) -> tuple[Dataset, Dataset]:
    memory, disk = (load_dataset(spec, None, parameters | {"sample_store": store}) for store in ("memory", "disk"))
    return memory, disk


@pytest.mark.parametrize(
    ("kind", "parameters"),
    [
        ("mixed", {"image_size": 12}),
        ("mixed", {"image_size": 40, "image_channels": 1}),
        ("grey", {"image_size": 12, "image_channels": 3, "pixel_range": "10,200"}),
        ("parts", {"image_size": 12}),
        ("scans", {"image_size": None}),
    ],
)
def test_pictures_in_files_are_those_in_memory(tmp_path: Path, kind: str, parameters: dict[str, Any]) -> None:
    memory, disk = both(write(tmp_path, kind), **parameters)
    assert (memory.encoding, memory.classes, memory.notes) == (disk.encoding, disk.classes, disk.notes)
    for own, theirs in ((memory.train, disk.train), (memory.test, disk.test)):
        assert isinstance(theirs.inputs, StoredInputs)
        assert torch.equal(own.targets, theirs.targets)
        assert own.tensor.dtype == theirs.inputs.dtype
        assert torch.equal(own.tensor, theirs.tensor)
        chosen = torch.tensor([4, 0, 4, 3])
        some: Samples = copy.deepcopy(theirs.select(chosen))  # as another process gets it
        assert torch.equal(some.tensor, own.tensor[chosen])


def test_training_from_files_gives_the_bits_of_training_from_memory(tmp_path: Path) -> None:
    spec = write(tmp_path / "pictures", "mixed")
    found = []
    for store in ("memory", "disk"):
        settings = {"clients": 2, "model": "mlp", "epochs": 2, "image_size": 8, "validation": 4}
        settings |= {"augment": "horizontal-flip", "sample_store": store}
        run = sglr.train("sglr", dataset=spec, out=tmp_path / store, **settings)
        found.append((read_checkpoint(run.checkpoints[-1])[0], run.summary["test"], run.experiment.fingerprint()))
    (memory, *others), (disk, *theirs) = found
    assert others == theirs
    assert all(torch.equal(memory[key], disk[key]) for key in memory.keys() | disk.keys())


def test_what_can_not_be_read_is_named(tmp_path: Path) -> None:
    spec = write(tmp_path, "grey")
    data = load_dataset(spec, None, {"sample_store": "disk"})
    damaged = tmp_path / "cat" / "1.jpg"
    damaged.write_bytes(damaged.read_bytes()[:300])
    with pytest.raises(UsageError, match=r"cat/1\.jpg"):
        data.train.inputs[:]
    messages = []
    for store in ("memory", "disk"):
        with pytest.raises(UsageError) as raised:
            load_dataset(spec, None, {"sample_store": store})
        messages.append(str(raised.value))
    assert messages[0] == messages[1]
    memory, disk = both(spec, on_bad="skip")
    assert memory.notes == disk.notes
    assert torch.equal(memory.train.tensor, disk.train.tensor)


def test_auto_leaves_pictures_in_files_that_would_fill_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = write(tmp_path, "grey", 6)
    assert isinstance(load_dataset(spec, None).train.inputs, torch.Tensor)
    monkeypatch.setattr("sglr.data.stored.memory_of", lambda device: 300_000)
    assert isinstance(load_dataset(spec, None).train.inputs, StoredInputs)
