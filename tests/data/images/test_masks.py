"""Pictures with masks as people have them: layouts, kinds of masks, sizes, and what does not fit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from sglr.core.data import Dataset
from sglr.core.errors import UsageError
from sglr.data.federate import federate
from sglr.data.load import load_dataset
from sglr.data.partitioners.iid import Iid

HEIGHT, WIDTH = 6, 8


def load(root: Path, **parameters: object) -> Dataset:
    return load_dataset(f"masks:{root}", None, parameters)


def refused(root: Path, **parameters: object) -> str:
    with pytest.raises(UsageError) as raised:
        load(root, **parameters)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def square(number: int, value: int, rest: int = 0) -> np.ndarray:
    """A mask whose rectangle of this value begins at another column for each number."""
    mask = np.full((HEIGHT, WIDTH), rest, dtype=np.uint8)
    mask[2:4, number % 4 : number % 4 + 3] = value
    return mask


def palette(mask: np.ndarray) -> Image.Image:
    image = Image.fromarray(mask, mode=None).convert("P")
    image.putdata(mask.flatten().tolist())
    image.putpalette([0, 0, 0, 200, 10, 10, 10, 200, 10])
    return image


def write(
    root: Path, make: Callable[[int], Any], count: int = 10, where: str = "images/{}.png", mask: str = "masks/{}.png"
) -> Path:
    """Write grey pictures that are bright where their mask is not 0."""
    for number in range(count):
        found = make(number)
        image = found if isinstance(found, Image.Image) else Image.fromarray(found)
        bright = np.asarray(image.convert("L") if image.mode == "1" else image)
        bright = np.where((bright > 0) & (bright < 255) | (bright.max() == 255) & (bright == 255), 220, 30)
        bright[0, 0] = 40 + number  # no two are the same
        for path, content in ((where, Image.fromarray(bright.astype(np.uint8))), (mask, image)):
            file = root / path.format(f"slice {number} ü")
            file.parent.mkdir(parents=True, exist_ok=True)
            content.save(file)
    return root


KINDS: dict[str, tuple[Callable[[int], Any], tuple[str, ...]]] = {
    "numbers": (lambda number: square(number, 1 + number % 2), ("0", "1", "2")),
    "0 and 255": (lambda number: square(number, 255), ("background", "foreground")),
    "one bit": (lambda number: Image.fromarray(square(number, 255)).convert("1"), ("background", "foreground")),
    "palette": (lambda number: palette(square(number, 1 + number % 2)), ("0", "1", "2")),
    "equal colours": (lambda number: Image.fromarray(square(number, 255)).convert("RGB"), ("background", "foreground")),
}


@pytest.mark.parametrize("kind", KINDS)
def test_masks_of_any_kind_are_class_numbers(tmp_path: Path, kind: str) -> None:
    make, names = KINDS[kind]
    data = load(write(tmp_path / "set", make))
    assert (data.targets.names, data.targets.shape, data.targets.dtype) == (names, (HEIGHT, WIDTH), "uint8")
    assert data.train.targets.dtype == torch.uint8
    assert (len(data.train), len(data.test)) == (8, 2)
    assert set(data.train.targets.unique().tolist()) == set(range(len(names)))
    if kind != "equal colours":  # those pictures have three channels
        assert torch.equal(data.train.inputs[:, 0] > 0, data.train.targets > 0)
    divided = federate(data, Iid(), 2, 0)
    assert divided.targets == data.targets


@pytest.mark.parametrize(
    ("where", "mask"),
    [
        ("images/{}.png", "masks/{}.png"),
        ("Images/patient 1/{}.jpg", "LABELS/patient 1/{}.png"),
        ("images/{}.png", "masks/{}_mask.png"),
        ("{}.png", "{}_mask.png"),
        ("a/{}.png", "a/{}-mask.png"),
    ],
)
def test_pictures_and_masks_are_matched_by_name(tmp_path: Path, where: str, mask: str) -> None:
    data = load(write(tmp_path / "set", lambda number: square(number, 1), where=where, mask=mask))
    assert len(data.train) + len(data.test) == 10
    assert torch.equal(data.train.inputs[:, 0] > 0, data.train.targets > 0)


@pytest.mark.parametrize("where", ["{}/images/%.png", "images/{}/%.png"])
def test_parts_are_folders_above_or_below(tmp_path: Path, where: str) -> None:
    for part, count in (("train", 6), ("val", 3), ("test", 2)):
        place = where.format(part).replace("%", "{}")
        write(tmp_path, lambda number: square(number, 1), count, place, place.replace("images", "masks"))
    data = load(tmp_path)
    assert isinstance(data.validation, type(data.train))
    assert (len(data.train), len(data.validation), len(data.test)) == (6, 3, 2)


def test_picture_and_mask_are_resized_with_one_geometry(tmp_path: Path) -> None:
    root = write(tmp_path / "set", lambda number: square(number, 1))
    large = load(root, image_size=48)
    assert (large.input_shape, large.targets.shape) == ((1, 48, 48), (48, 48))
    assert set(large.train.targets.unique().tolist()) == {0, 1}
    for image, mask in zip(large.train.inputs[:, 0], large.train.targets, strict=True):
        rows, columns = (torch.arange(48.0)[:, None], torch.arange(48.0)[None])
        for axis in (rows, columns):  # centres agree to less than half a stored pixel
            bright = image.clamp(min=-0.5) + 0.5
            own, other = ((weight * axis).sum() / weight.sum() for weight in (bright, mask.float()))
            assert abs(own - other) < 1


def test_pixels_of_255_are_of_no_class_where_there_are_others(tmp_path: Path) -> None:
    root = write(tmp_path / "set", lambda number: square(number, 1, rest=255 if number == 0 else 0))
    data = load(root, test_fraction=0.1, split_seed=1)
    assert data.targets.classes == 2
    assert 255 in torch.cat([data.train.targets, data.test.targets]).unique().tolist()
    if 255 in data.train.targets.unique().tolist():
        assert "of the training masks' pixels are 255, which is no class: --ignore-index 255" in data.notes[-1]


def test_another_site_reads_by_the_schema_of_the_run(tmp_path: Path) -> None:
    own = load(write(tmp_path / "one", KINDS["0 and 255"][0]), image_size=16, classes="skin,lesion")
    again = load(tmp_path / "one", schema=dict(own.encoding))
    assert torch.equal(again.train.targets, own.train.targets)
    assert torch.equal(again.train.inputs, own.train.inputs)
    healthy = write(tmp_path / "two", lambda number: square(number, 0 if number else 255), count=4)
    read = load(healthy, schema=dict(own.encoding))
    assert (read.targets, read.input_shape) == (own.targets, own.input_shape)
    assert "image_size = 8: the schema says 16" in refused(healthy, schema=dict(own.encoding), image_size=8)
    numbers = write(tmp_path / "three", lambda number: square(number, 1 + number % 2))
    counted = load(write(tmp_path / "four", lambda number: square(number, 1)))
    assert "hold nothing but 0 and 255, and the schema" in refused(healthy, schema=dict(counted.encoding))
    assert "has pixels of number 2, and the 2 classes" in refused(numbers, schema=dict(own.encoding))


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    root = write(tmp_path / "set", lambda number: square(number, 1))
    mask, picture = (root / folder / "slice 3 ü.png" for folder in ("masks", "images"))
    Image.new("L", (WIDTH, HEIGHT + 1)).save(mask)
    told = refused(root)
    assert f"file = {mask}: has 8 x 7 pixels, and its picture {picture} 8 x 6" in told
    Image.fromarray(square(3, 7)).save(mask)
    assert "has pixels of number 7, and the 2 classes" in refused(root, classes="a,b")
    Image.new("RGB", (WIDTH, HEIGHT), (1, 2, 3)).save(mask)
    assert "it has colours, and no palette" in refused(root)
    mask.write_bytes(b"\x89PNG and no more")
    assert f"file = {mask}: cannot be read as a mask" in refused(root)
    mask.unlink()
    assert f"file = {picture}: has no mask; give each picture a mask of its name" in refused(root)
    mask.symlink_to(root / "masks" / "slice 4 ü.png")
    assert len(load(root).train) == 8
    picture.unlink()
    assert f"file = {mask}: is a mask without a picture" in refused(root)


def test_what_can_not_be_used_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "has no pictures with masks" in refused(tmp_path / "empty")
    blank = write(tmp_path / "blank", lambda number: square(number, 0))
    assert "every" in refused(blank)
    root = write(tmp_path / "set", lambda number: square(number, 1))
    assert "of memory" in refused(root, image_size=10_000_000)
    Image.new("L", (WIDTH + 2, HEIGHT)).save(root / "images" / "slice 3 ü.png")
    Image.new("L", (WIDTH + 2, HEIGHT)).save(root / "masks" / "slice 3 ü.png")
    assert "differ in size, from 6 x 8" in refused(root)
    assert load(root, image_size=8).input_shape == (1, 8, 8)
