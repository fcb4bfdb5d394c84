"""Data sets in the official formats, written small by the tests themselves."""

from __future__ import annotations

import gzip
import io
import os
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from sglr.core.errors import UsageError
from sglr.data.federate import federate
from sglr.data.formats.idx import IMAGES, read_idx
from sglr.data.images.dataset import image_tensor
from sglr.data.load import load_dataset
from sglr.data.partitioners.iid import Iid

OFFICIAL = os.environ.get("SGLR_DATA_DIR")


@pytest.fixture(autouse=True)
def no_data_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SGLR_DATA_DIR", raising=False)


def idx(values: NDArray[np.uint8]) -> bytes:
    return bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()


def write_idx(folder: Path, count: int = 12, pack: Callable[[bytes], bytes] = gzip.compress, end: str = ".gz") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for part, size in (("train", count), ("t10k", 4)):
        images = np.arange(size, dtype=np.uint8).repeat(6).reshape(size, 2, 3)
        labels = (np.arange(size) % 10).astype(np.uint8)
        (folder / f"{part}-images-idx3-ubyte{end}").write_bytes(pack(idx(images)))
        (folder / f"{part}-labels-idx1-ubyte{end}").write_bytes(pack(idx(labels)))


def error(spec: str, folder: Path | None, **parameters: object) -> str:
    with pytest.raises(UsageError) as raised:
        load_dataset(spec, folder, parameters)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_digits_are_those_of_scikit_learn_split_by_class() -> None:
    from sklearn.datasets import load_digits

    data = load_dataset("digits", None)
    assert data.train.inputs.shape == (1437, 1, 8, 8)
    assert data.test.inputs.shape == (360, 1, 8, 8)
    found = torch.cat([data.train.inputs, data.test.inputs]).flatten(1)
    official = torch.tensor(load_digits().data, dtype=torch.float32) / 8 - 1
    assert torch.allclose(found.sum(1).sort().values, official.sum(1).sort().values, atol=0.15)
    assert (found.min(), found.max()) == (-1, 1)
    both = [np.bincount(part.targets.numpy(), minlength=10) for part in (data.train, data.test)]
    assert (both[0] + both[1]).tolist() == np.bincount(load_digits().target).tolist()
    assert np.abs(both[1] - (both[0] + both[1]) * 360 / 1797).max() <= 1


@pytest.mark.parametrize("place", ["", "fashion-mnist", "FashionMNIST/raw"])
@pytest.mark.parametrize(("pack", "end"), [(gzip.compress, ".gz"), (bytes, "")])
def test_idx_files_are_found_where_people_put_them(
    tmp_path: Path, place: str, pack: Callable[[bytes], bytes], end: str
) -> None:
    write_idx(tmp_path / place, pack=pack, end=end)
    data = load_dataset("fashion-mnist", tmp_path)
    assert data.train.inputs.shape == (12, 1, 2, 3)
    assert torch.allclose(data.train.inputs[:, 0, 1, 2], torch.arange(12) / 127.5 - 1)
    assert data.train.targets.tolist() == [*range(10), 0, 1]
    assert data.classes[9] == "Ankle boot"


def test_the_variable_names_the_folder_where_none_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_idx(tmp_path)
    monkeypatch.setenv("SGLR_DATA_DIR", str(tmp_path))
    assert len(load_dataset("mnist", None).train) == 12
    monkeypatch.setenv("SGLR_DATA_DIR", str(tmp_path / "absent"))
    assert "SGLR_DATA_DIR" in error("mnist", None)


def test_mnist_and_fashion_mnist_side_by_side_are_told_apart(tmp_path: Path) -> None:
    write_idx(tmp_path / "mnist", count=11)
    write_idx(tmp_path / "fashion-mnist", count=13)
    assert len(load_dataset("mnist", tmp_path).train) == 11
    assert len(load_dataset("fashion-mnist", tmp_path).train) == 13


@given(shape=st.tuples(*[st.integers(0, 5)] * 3), cut=st.integers(0, 200))
def test_an_idx_file_reads_back_whole_or_not_at_all(
    tmp_path_factory: pytest.TempPathFactory, shape: tuple[int, int, int], cut: int
) -> None:
    values = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    path = tmp_path_factory.mktemp("idx") / "images"
    path.write_bytes(idx(values))
    assert np.array_equal(read_idx(path, IMAGES), values)
    content = path.read_bytes()
    if cut < len(content):
        path.write_bytes(content[:cut])
        with pytest.raises(UsageError, match="download the file again"):
            read_idx(path, IMAGES)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("train-images-idx3-ubyte.gz", b"no gzip", "corrupt or truncated gzip file"),
        ("train-images-idx3-ubyte.gz", gzip.compress(bytes(5000))[:-12], "corrupt or truncated gzip file"),
        (
            "train-labels-idx1-ubyte.gz",
            gzip.compress(b"PK\x03\x04junk"),
            "it starts with 504b0304, not 00000801",
        ),
        ("train-images-idx3-ubyte.gz", gzip.compress(bytes([0, 0, 8, 3, 0])), "truncated within its header"),
        (
            "t10k-images-idx3-ubyte.gz",
            gzip.compress(idx(np.zeros((4, 2, 3), np.uint8))[:-1]),
            "has 23 bytes",
        ),
        ("t10k-labels-idx1-ubyte.gz", gzip.compress(idx(np.zeros(3, np.uint8))), "has 4 images, but"),
        (
            "t10k-labels-idx1-ubyte.gz",
            gzip.compress(idx(np.full(4, 10, np.uint8))),
            "label 10, outside the classes",
        ),
    ],
    # The bytes hold the time: as ids they would differ between the processes that run the tests.
    ids=["no gzip", "cut off", "another file", "header", "images", "number", "label"],
)
def test_a_damaged_file_is_named_with_what_is_wrong(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    write_idx(tmp_path)
    (tmp_path / name).write_bytes(content)
    text = error("mnist", tmp_path)
    assert message in text
    assert name.partition("-")[0] in text


def test_missing_and_empty_files_are_named(tmp_path: Path) -> None:
    write_idx(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte.gz").unlink()
    assert "t10k-labels-idx1-ubyte.gz: missing, while the other files are there" in error("mnist", tmp_path)
    write_idx(tmp_path, count=0)
    assert "has no images" in error("mnist", tmp_path)
    assert "no such folder" in error("mnist", tmp_path / "absent")


def test_offline_without_files_the_message_says_what_was_looked_for_and_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets
    import huggingface_hub

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    text = error("mnist", tmp_path)
    for part in (
        "train-images-idx3-ubyte.gz",
        str(tmp_path / "mnist"),
        "--data-dir",
        "SGLR_DATA_DIR",
        "ylecun/mnist",
    ):
        assert part in text


@pytest.mark.parametrize("layout", ["folder", "archive", "inside"])
@pytest.mark.parametrize(("name", "label_bytes"), [("cifar10", 1), ("cifar100", 2)])
def test_cifar_in_its_binary_version(tmp_path: Path, layout: str, name: str, label_bytes: int) -> None:
    write_cifar(tmp_path, layout, label_bytes)
    data = load_dataset(name, tmp_path)
    assert data.train.inputs.shape == ((10, 3, 32, 32) if label_bytes == 1 else (2, 3, 32, 32))
    assert data.train.targets[:2].tolist() == [7, 8]
    # Red is the record's first plane, and the second pixel of its first row is 1 more than the first.
    assert torch.allclose(data.train.inputs[0, :, 0, 1], torch.tensor([11, 101, 201]) / 127.5 - 1)
    assert len(data.classes) == (10 if label_bytes == 1 else 100)


def write_cifar(root: Path, layout: str, label_bytes: int) -> None:
    row = np.arange(32, dtype=np.uint8).repeat(32).reshape(32, 32).T
    image = np.concatenate([(row + base).ravel() for base in (10, 100, 200)]).astype(np.uint8)
    content = b"".join(bytes([3] * (label_bytes - 1) + [label]) + image.tobytes() for label in (7, 8))
    names = [f"data_batch_{n}.bin" for n in range(1, 6)] + ["test_batch.bin"]
    names = names if label_bytes == 1 else ["train.bin", "test.bin"]
    stem = "cifar-10-batches-bin" if label_bytes == 1 else "cifar-100-binary"
    if layout == "archive":
        archive = root / ("cifar-10-binary.tar.gz" if label_bytes == 1 else "cifar-100-binary.tar.gz")
        with tarfile.open(archive, "w:gz") as tar:
            for name in names:
                member = tarfile.TarInfo(f"{stem}/{name}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
        return
    folder = root if layout == "inside" else root / stem
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_bytes(content)


def test_damaged_cifar_files(tmp_path: Path) -> None:
    write_cifar(tmp_path, "inside", 1)
    (tmp_path / "data_batch_3.bin").write_bytes(bytes(3000))
    assert "data_batch_3.bin: truncated or in another format: 3000 bytes" in error("cifar10", tmp_path)
    (tmp_path / "data_batch_3.bin").unlink()
    assert "data_batch_3.bin: missing, while the other files are there" in error("cifar10", tmp_path)
    write_cifar(tmp_path, "archive", 2)
    archive = tmp_path / "cifar-100-binary.tar.gz"
    whole = archive.read_bytes()
    archive.write_bytes(whole[:-20])
    assert "corrupt or truncated archive" in error("cifar100", tmp_path)
    archive.write_bytes(whole[:-8] + bytes([whole[-8] ^ 1]) + whole[-7:])
    assert "corrupt or truncated archive" in error("cifar100", tmp_path)


@pytest.mark.parametrize("python", ["cifar-10-batches-py", "cifar-10-python.tar.gz"])
def test_the_pickled_version_of_cifar_is_refused(tmp_path: Path, python: str) -> None:
    (tmp_path / python).mkdir()
    text = error("cifar10", tmp_path)
    assert python in text
    assert "pickled" in text
    assert "cifar-10-binary.tar.gz" in text


@pytest.mark.parametrize("size", [5, 32])
def test_resizing_agrees_with_pillow(size: int) -> None:
    from PIL import Image

    values = np.random.default_rng(0).integers(0, 256, (3, 28, 28, 1), dtype=np.uint8)
    mine = image_tensor(values, size)
    for image, tensor in zip(values, mine, strict=True):
        theirs = np.asarray(Image.fromarray(image[..., 0]).resize((size, size), Image.Resampling.BILINEAR))
        assert np.abs((tensor[0].numpy() + 1) * 127.5 - theirs).max() <= 1.0


def test_grey_and_colour() -> None:
    values = np.array([[[[255, 0, 0]]]], dtype=np.uint8)
    assert torch.allclose(image_tensor(values, channels=1), torch.tensor(0.299 * 2 - 1))
    assert image_tensor(values[..., :1], channels=3).flatten().tolist() == [1, 1, 1]


@pytest.mark.parametrize(("parameter", "value"), [("image_size", 0), ("image_channels", 2)])
def test_impossible_images(parameter: str, value: int) -> None:
    assert f"{parameter} = {value}: " in error("digits", None, **{parameter: value})


def test_the_words_of_a_command_line_are_understood() -> None:
    data = load_dataset("digits:16", None, {"image_channels": "none"})
    assert data.input_shape == (1, 16, 16)


def test_unknown_names_suggest_the_nearest() -> None:
    assert "did you mean 'image_size'?" in error("digits", None, imagesize=3)
    assert "did you mean 'fashion-mnist'?" in error("fashon-mnist", None)
    assert "image_size = big: " in error("digits", None, image_size="big")


@pytest.mark.skipif(OFFICIAL is None, reason="SGLR_DATA_DIR names no folder with Fashion-MNIST")
def test_official_fashion_mnist() -> None:
    assert OFFICIAL is not None
    data = load_dataset("fashion-mnist", Path(OFFICIAL))
    assert data.train.inputs.shape == (60_000, 1, 28, 28)
    assert np.bincount(data.train.targets.numpy()).tolist() == [6000] * 10
    assert np.bincount(data.test.targets.numpy()).tolist() == [1000] * 10
    # The mean pixel that the literature standardises with.
    assert float(data.train.inputs.mean() + 1) / 2 == pytest.approx(0.2860, abs=1e-4)
    divided = federate(data, Iid(), 20, 0, samples_per_client=1000)
    assert divided.sizes == (1000,) * 20
    assert divided.validation is not None
    assert len(divided.validation) == 10_000
