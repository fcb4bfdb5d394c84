"""Folders of pictures as people have them: any mode, depth and orientation, parts, hidden files, damage."""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from sglr.core.data import Dataset, Samples
from sglr.core.errors import UsageError
from sglr.data.federate import federate
from sglr.data.load import load_dataset
from sglr.data.partitioners.iid import Iid

DARK, LIGHT = 0.2, 0.8
"""Brightness of the pictures of two classes, as a share of their range."""


def load(root: Path, **parameters: object) -> Dataset:
    return load_dataset(f"folder:{root}", None, {"image_size": "none", **parameters})


def error(root: Path, **parameters: object) -> str:
    with pytest.raises(UsageError) as raised:
        load(root, **parameters)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def write(root: Path, make: Callable[[float], Any], ending: str = "png", count: int = 10) -> Path:
    """Write pictures of two classes; each has a darkest and a lightest pixel of the whole range in turns."""
    for name, brightness in (("dark", DARK), ("light", LIGHT)):
        (root / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            make(brightness).save(root / name / f"{number}.{ending}")
    return root


def grey(dtype: type, low: float, high: float) -> Callable[[float], Any]:
    def make(brightness: float) -> Any:
        values = np.full((6, 6), low + brightness * (high - low))
        values[0, 0], values[0, 1] = low, high
        return Image.fromarray(values.astype(dtype))

    return make


def converted(mode: str) -> Callable[[float], Any]:
    return lambda brightness: grey(np.uint8, 0, 255)(brightness).convert(mode)


def inner(samples: Samples) -> list[set[float]]:
    """Return the values away from the corners that each class has."""
    return [
        {round(float(value), 2) for value in samples.inputs[samples.targets == label][:, :, 2:, 2:].flatten()}
        for label in (0, 1)
    ]


DEEP = {
    "fractions": (np.float32, 0, 1, "tif"),
    "32 bits with 8 used": (np.int32, 0, 255, "tif"),
    "Hounsfield": (np.int32, -1000, 1000, "tif"),
    "Hounsfield as fractions": (np.float32, -1000, 1000, "tiff"),
    "12 bits in 16": (np.uint16, 0, 4095, "tif"),
    "12 bits in 16, png": (np.uint16, 0, 4095, "png"),
    "16 bits": (np.uint16, 0, 65535, "png"),
    "16 bits, pgm": (np.uint16, 0, 65535, "pgm"),
}


@pytest.mark.parametrize("stated", [False, True])
@pytest.mark.parametrize("kind", DEEP)
def test_pictures_of_any_depth_span_the_range(tmp_path: Path, kind: str, stated: bool) -> None:
    dtype, low, high, ending = DEEP[kind]
    root = write(tmp_path, grey(dtype, low, high), ending)
    data = load(root, pixel_range=f"{low},{high}" if stated else "none")
    assert (float(data.train.inputs.min()), float(data.train.inputs.max())) == (-1, 1)
    assert inner(data.train) == inner(data.test) == [{-0.6}, {0.6}]
    assert data.encoding == {
        "kind": "image",
        "channels": 1,
        "size": [6, 6],
        "range": [low, high],
        "measured": not stated,
    }
    assert json.loads(json.dumps(data.encoding)) == data.encoding
    assert [("measured" in note) for note in data.notes] == [True] * (not stated)


UNREADABLE = pytest.mark.skipif(int(PIL.__version__.partition(".")[0]) < 13, reason="Pillow can't read what it wrote")


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", pytest.param("YCbCr", marks=UNREADABLE)])
def test_pictures_of_eight_bits_keep_their_values_in_every_mode(tmp_path: Path, mode: str) -> None:
    ending = {"CMYK": "tif", "YCbCr": "tif"}.get(mode, "png")
    root = write(tmp_path, converted(mode), ending)
    data = load(root)
    assert data.input_shape == (1 if mode in ("1", "L", "LA") else 3, 6, 6)
    assert data.encoding["range"] == [0, 255]
    for name, label in (("dark", 0), ("light", 1)):
        with Image.open(root / name / f"0.{ending}") as image:
            stored = np.array(image.convert("RGB"))
        expected = torch.from_numpy(stored).permute(2, 0, 1).float() / 127.5 - 1
        found = data.train.inputs[data.train.targets == label][0]
        assert torch.equal(found.expand(3, -1, -1), expected)


def test_a_stated_range_of_all_eight_bits_changes_nothing(tmp_path: Path) -> None:
    root = write(tmp_path, converted("RGB"))
    assert torch.equal(load(root).train.inputs, load(root, pixel_range=(0, 255)).train.inputs)


def test_a_narrow_range_of_eight_bits_spreads_them(tmp_path: Path) -> None:
    root = write(tmp_path, grey(np.uint8, 0, 5))
    (note,) = load(root).notes
    assert "99.8 % of the pixel values lie from 0 to 5" in note
    assert "--pixel-range 0,5" in note
    data = load(root, pixel_range="0,5")
    assert inner(data.train) == [{-0.6}, {0.6}]
    assert data.notes == ()


@given(values=st.lists(st.floats(-1e6, 1e6, width=32), min_size=2, max_size=9, unique=True))
def test_measured_values_fill_the_range_in_their_order(tmp_path_factory: pytest.TempPathFactory, values: list[float]):
    root = tmp_path_factory.mktemp("pictures")
    (root / "train" / "a").mkdir(parents=True)
    (root / "test" / "a").mkdir(parents=True)
    Image.fromarray(np.array([values], dtype=np.float32)).save(root / "train" / "a" / "0.tif")
    Image.fromarray(np.array([[value * 2 for value in values]], dtype=np.float32)).save(root / "test" / "a" / "0.tif")
    data = load(root, classes="a,b")
    found = data.train.inputs.flatten()
    low, high = min(values), max(values)
    expected = [2 * (value - low) / (high - low) - 1 for value in values]
    assert found.tolist() == pytest.approx(expected, abs=1e-4)
    # What is beyond the training pictures' range counts as its end, so that the test pictures choose nothing.
    beyond = [min(max(2 * (2 * value - low) / (high - low) - 1, -1), 1) for value in values]
    assert data.test.inputs.flatten().tolist() == pytest.approx(beyond, abs=1e-4)


def test_values_outside_the_stated_range_are_counted(tmp_path: Path) -> None:
    root = write(tmp_path, grey(np.int32, -3000, 1000), "tif")
    (note,) = load(root, pixel_range="-1000,1000").notes
    assert "are outside -1000 to 1000 and are clipped" in note


def test_an_outlier_that_darkens_everything_is_told(tmp_path: Path) -> None:
    def make(brightness: float) -> Any:
        values = np.full((60, 60), 1000 * brightness)
        values[0, 0] = 65535
        return Image.fromarray(values.astype(np.uint16))

    notes = load(write(tmp_path, make)).notes
    assert any("--pixel-range 200,800 if the rest are outliers" in note for note in notes)


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ("5", "is not two numbers"),
        ("0,1,2", "is not two numbers"),
        ("0,nan", "is not two numbers"),
        ("1,0", "the first number must be the lower one"),
        ("a,b", "pixel_range"),
        ("0,4095", "have 8 bits, so their values are 0 to 255"),
        ("254,255", None),
    ],
)
def test_ranges_that_make_no_sense(tmp_path: Path, stated: str, message: str | None) -> None:
    root = write(tmp_path, grey(np.uint8, 0, 100))
    assert (message or "values from 0 to 100, all outside this range") in error(root, pixel_range=stated)


def test_constant_pictures(tmp_path: Path) -> None:
    root = write(tmp_path, lambda _: Image.new("L", (6, 6), 7))
    assert "every pixel of every training picture is 7, so a model can't learn from them" in error(root)
    write(root, lambda brightness: Image.new("L", (6, 6), int(255 * brightness)))
    (note,) = load(root).notes
    assert "16 of 16 training pictures have only one pixel value, such as dark/" in note


def test_depths_are_not_mixed_unless_their_range_is_stated(tmp_path: Path) -> None:
    root = write(tmp_path, grey(np.uint8, 0, 255))
    grey(np.uint16, 0, 255)(LIGHT).save(root / "light" / "deep.png")
    text = error(root)
    assert "dark/0.png" in text
    assert "has pixel values of 8 bits, light/deep.png of whole numbers" in text
    assert inner(load(root, pixel_range="0,255").train) == [{-0.6}, {0.6}]


def test_pixels_without_a_finite_value(tmp_path: Path) -> None:
    root = write(tmp_path, grey(np.float32, 0, 1), "tif")
    Image.fromarray(np.full((6, 6), np.nan, dtype=np.float32)).save(root / "dark" / "nan.tif")
    assert "dark/nan.tif: cannot be read as a picture (it has pixel values that are not finite)" in error(root)
    assert "1 of 21 pictures can't be read and were skipped: dark/nan.tif" in load(root, on_bad="skip").notes[0]


def test_several_pages_and_transparency_are_told(tmp_path: Path) -> None:
    root = write(tmp_path, grey(np.uint8, 0, 255))
    pages = [grey(np.uint8, 0, 255)(LIGHT), grey(np.uint8, 0, 255)(DARK)]
    pages[0].save(root / "light" / "volume.tif", save_all=True, append_images=pages[1:])
    pages[0].save(root / "light" / "film.gif", save_all=True, append_images=pages[1:])
    clear = grey(np.uint8, 0, 255)(DARK).convert("LA")
    clear.putalpha(Image.new("L", (6, 6), 9))
    clear.save(root / "dark" / "clear.png")
    data = load(root)
    assert "only the first page or frame is read of: light/film.gif, light/volume.tif" in data.notes[0]
    assert "transparency is ignored in dark/clear.png" in data.notes[1]
    assert inner(data.train)[1] == {0.6}


@pytest.mark.parametrize("ending", ["jpg", "png", "tif"])
def test_pictures_are_turned_as_their_camera_was_held(tmp_path: Path, ending: str) -> None:
    values = np.zeros((8, 16), dtype=np.uint8)
    values[:, 8:] = 255
    turned = Image.Exif()
    turned[0x0112] = 6  # the camera's top is at the right: turn by 90 degrees clockwise
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for number in range(3):
            Image.fromarray(values).save(tmp_path / name / f"{number}.{ending}", exif=turned)
    data = load(tmp_path)
    assert data.input_shape == (1, 16, 8)
    assert (data.train.inputs[:, :, :8] < -0.9).all()
    assert (data.train.inputs[:, :, 8:] > 0.9).all()


# What lies in the folder


@pytest.mark.parametrize(
    ("train", "validation", "test"),
    [
        ("train", "val", "test"),
        ("Training", "Validation", "Testing"),
        ("TRAIN", "valid", None),
        ("train", None, "Test"),
    ],
)
def test_parts_by_their_usual_names(tmp_path: Path, train: str, validation: str | None, test: str | None) -> None:
    for name, count in ((train, 10), (validation, 3), (test, 2)):
        if name is not None:
            write(tmp_path / name, grey(np.uint8, 0, 255), count=count)
    data = load(tmp_path)
    assert data.classes == ("dark", "light")
    assert (len(data.train), len(data.test)) == ((20, 4) if test else (16, 4))
    divided = federate(data, Iid(), 2, 0)
    if validation is None:
        assert divided.validation is not None
        assert len(divided.validation) == 2
        return
    assert isinstance(data.validation, Samples)
    assert divided.validation is data.validation
    assert len(data.validation) == 6
    assert sum(divided.sizes) == len(data.train)
    asked = federate(data, Iid(), 2, 0, validation=4)
    assert asked.validation is not None
    assert (len(asked.validation), sum(asked.sizes)) == (4, len(data.train) - 4)
    assert federate(data, Iid(), 2, 0, validation=0).validation is None


def test_only_a_training_part(tmp_path: Path) -> None:
    write(tmp_path / "Train", grey(np.uint8, 0, 255))
    assert load(tmp_path).classes == ("dark", "light")


def test_parts_that_are_ambiguous_or_incomplete(tmp_path: Path) -> None:
    for name in ("val", "test"):
        write(tmp_path / name, grey(np.uint8, 0, 255))
    assert "are parts of a data set, but none has the training pictures" in error(tmp_path)
    for name in ("train", "Training"):
        write(tmp_path / name, grey(np.uint8, 0, 255))
    assert "has several folders of train pictures: Training, train; keep one of them" in error(tmp_path)


def test_folders_beside_the_parts_are_told(tmp_path: Path) -> None:
    for name in ("train", "test", "labels"):
        write(tmp_path / name, grey(np.uint8, 0, 255))
    assert "is divided into parts; other folders are ignored: labels" in load(tmp_path).notes[0]


def test_a_class_called_train_is_a_class_among_others(tmp_path: Path) -> None:
    root = write(tmp_path, grey(np.uint8, 0, 255))
    (root / "dark").rename(root / "train")
    assert load(root).classes == ("light", "train")


@pytest.mark.parametrize("part", ["test", "val"])
def test_classes_that_differ_in_case_between_parts(tmp_path: Path, part: str) -> None:
    write(tmp_path / "train", grey(np.uint8, 0, 255))
    write(tmp_path / part, grey(np.uint8, 0, 255))
    (tmp_path / part / "dark").rename(tmp_path / part / "Dark")
    assert "(dark and Dark differ in case only); give each class the same name in all parts" in error(tmp_path)
    (tmp_path / part / "light").rename(tmp_path / part / "other")
    assert "have different classes" in error(tmp_path)


def test_classes_of_one_folder_that_differ_in_case_are_told(tmp_path: Path) -> None:
    write(tmp_path, grey(np.uint8, 0, 255))
    (tmp_path / "light").rename(tmp_path / "Dark")
    if not (tmp_path / "dark").is_dir():
        pytest.skip("names differ in case only")
    assert "classes differ in case only: Dark, dark" in load(tmp_path).notes


def test_hidden_files_and_those_of_systems_are_passed_over(tmp_path: Path) -> None:
    root = write(tmp_path, grey(np.uint8, 0, 255))
    before = load(root)
    for place in (".ipynb_checkpoints", "__MACOSX/dark", "dark/.ipynb_checkpoints", "light/@eaDir/0.png"):
        write(root / place, grey(np.uint8, 0, 255), count=1)
    for name in ("dark/._0.png", "dark/.DS_Store", "light/Thumbs.db", "light/desktop.ini"):
        (root / name).write_bytes(b"no picture")
    after = load(root)
    assert torch.equal(before.train.inputs, after.train.inputs)
    assert (after.classes, after.notes) == (before.classes, ())


def test_other_files_are_counted(tmp_path: Path) -> None:
    root = write(tmp_path, grey(np.uint8, 0, 255))
    for name in ("dark/notes.txt", "dark/a.HEIC", "light/b.heic", "light/README"):
        (root / name).write_bytes(b"")
    grey(np.uint8, 0, 255)(DARK).save(root / "loose.png")
    loose, others = load(root).notes
    assert "ignored, because they are not in the folder of a class: " in loose
    assert "loose.png" in loose
    assert others == "ignored, because their names do not end like those of pictures: 4 files (.heic, .txt, no ending)"


def test_links_are_followed_and_loops_end(tmp_path: Path) -> None:
    root = write(tmp_path / "pictures", grey(np.uint8, 0, 255))
    (root / "dark" / "loop").symlink_to(root, target_is_directory=True)
    (root / "loop").symlink_to(root, target_is_directory=True)
    (root / "itself").symlink_to(root / "itself")
    data = load(root)
    assert (data.classes, len(data.train) + len(data.test)) == (("dark", "light"), 20)
    elsewhere = write(tmp_path / "elsewhere", grey(np.uint8, 0, 255), count=3)
    (root / "light" / "more").symlink_to(elsewhere / "light", target_is_directory=True)
    (root / "third").symlink_to(elsewhere / "dark", target_is_directory=True)
    data = load(root)
    assert (data.classes, len(data.train) + len(data.test)) == (("dark", "light", "third"), 26)


def test_names_in_any_script(tmp_path: Path) -> None:
    for name in ("Åse", "猫"):
        (tmp_path / name).mkdir()
        for number in range(4):
            grey(np.uint8, 0, 255)(DARK).save(tmp_path / name / f"фото {number}.PNG")
    assert load(tmp_path).classes == ("Åse", "猫")
    (tmp_path / "猫" / "\x1b[2J\n.png").write_bytes(b"")
    assert "猫/?[2J?.png (it is empty)" in load(tmp_path, on_bad="skip").notes[0]


# Damage


def bomb(path: Path) -> None:
    """Write a PNG of a few bytes whose header says 100,000 x 100,000 pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 0, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")))


def cut_off(path: Path) -> None:
    noise: NDArray[np.uint8] = np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:400])


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty": (lambda path: path.write_bytes(b""), "it is empty"),
    "text": (lambda path: path.write_text("no picture"), "damaged, or in a format that Pillow does not support"),
    "cut off": (cut_off, "truncated"),
    "bomb": (bomb, "10000000000 pixels) exceeds limit"),
    "dangling link": (lambda path: path.symlink_to(path.parent / "absent"), "no such file"),
    "folder": (lambda path: path.mkdir(), ""),
}


@pytest.mark.parametrize("damage", [name for name in DAMAGE if name != "folder"])
def test_a_picture_that_cannot_be_read(tmp_path: Path, damage: str) -> None:
    root = write(tmp_path, grey(np.uint8, 0, 255))
    before = load(root)
    make, reason = DAMAGE[damage]
    make(root / "dark" / "zzz.png")
    text = error(root)
    assert f"file = {root}/dark/zzz.png: cannot be read as a picture (" in text
    assert reason in text
    assert "replace or remove it, or give --on-bad skip" in text
    after = load(root, on_bad="skip")
    assert torch.equal(before.train.inputs, after.train.inputs)
    assert "1 of 21 pictures can't be read and were skipped: dark/zzz.png (" in after.notes[0]


def test_a_folder_that_is_called_like_a_picture(tmp_path: Path) -> None:
    root = write(tmp_path, grey(np.uint8, 0, 255))
    (root / "dark" / "zzz.png").mkdir()
    assert len(load(root).train) == 16


def test_many_skipped_pictures_are_counted_and_a_class_needs_one(tmp_path: Path) -> None:
    root = write(tmp_path, grey(np.uint8, 0, 255))
    for number in range(9):
        (root / "dark" / f"{number}.png").write_bytes(b"")
    note = load(root, on_bad="skip").notes[0]
    assert note.startswith("9 of 20 pictures can't be read and were skipped: dark/0.png (it is empty), ")
    assert note.endswith(" and 6 more")
    (root / "dark" / "9.png").write_bytes(b"")
    assert "none of the 10 pictures of class dark can be read; replace them" in error(root, on_bad="skip")
    assert "on_bad = never: " in error(root, on_bad="never")


@given(
    content=st.binary(max_size=80),
    head=st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"II*\0", b"\xff\xd8\xff\xe0"]),
)
def test_no_bytes_whatever_get_past_as_a_picture_or_raise_anything_else(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, head: bytes
) -> None:
    root = write(tmp_path_factory.mktemp("pictures"), grey(np.uint8, 0, 255), count=2)
    (root / "dark" / "zzz.png").write_bytes(head + content)
    data = load(root, on_bad="skip", image_size=6)
    assert len(data.train) + len(data.test) in (4, 5)
    if len(data.train) + len(data.test) == 4:
        assert "zzz.png" in data.notes[0]


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_folder_that_may_not_be_read(tmp_path: Path) -> None:
    root = write(tmp_path, grey(np.uint8, 0, 255))
    (root / "dark").chmod(0)
    try:
        assert "cannot be read (Permission denied)" in error(root)
    finally:
        (root / "dark").chmod(0o700)


def test_an_image_size_of_nothing(tmp_path: Path) -> None:
    root = write(tmp_path, grey(np.uint8, 0, 255))
    assert "image_size = 0: too small for an image" in error(root, image_size=0)


# Hugging Face


@pytest.fixture
def hub_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))


@pytest.mark.usefixtures("hub_cache")
def test_hugging_face_pictures_have_a_range_a_validation_part_and_damage(tmp_path: Path) -> None:
    for part, count in (("train", 4), ("validation", 3), ("test", 2)):
        write(tmp_path / part, grey(np.uint16, 0, 4095), "png", count)
    data = load_dataset(f"hf:{tmp_path}", None)
    assert data.encoding["range"] == [0, 4095]
    assert isinstance(data.validation, Samples)
    assert (len(data.train), len(data.validation), len(data.test)) == (8, 6, 4)
    assert inner(data.train) == inner(data.validation) == [{-0.6}, {0.6}]
    stated = load_dataset(f"hf:{tmp_path}", None, {"pixel_range": (0, 8190)})
    assert inner(stated.test) == [{-0.8}, {-0.2}]


@pytest.mark.usefixtures("hub_cache")
def test_damaged_hugging_face_pictures(tmp_path: Path) -> None:
    for part in ("train", "test"):
        write(tmp_path / part, grey(np.uint8, 0, 255), "png", 4)
    (tmp_path / "train" / "dark" / "0.png").write_bytes(b"no picture")
    with pytest.raises(UsageError, match="cannot be read as a picture"):
        load_dataset(f"hf:{tmp_path}", None)
    data = load_dataset(f"hf:{tmp_path}", None, {"on_bad": "skip"})
    assert (len(data.train), len(data.test)) == (7, 8)
    assert "1 of 16 pictures can't be read and were skipped: " in data.notes[0]
