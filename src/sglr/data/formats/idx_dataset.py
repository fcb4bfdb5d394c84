"""Load MNIST and the data sets that share its four files, from this machine or from Hugging Face."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sglr.core.data import Dataset
from sglr.core.errors import UsageError
from sglr.data.formats.files import REMEDY, candidates, first_file, looked_for
from sglr.data.formats.hub import fetch, hub_pixels
from sglr.data.formats.idx import IMAGES, LABELS, read_idx
from sglr.data.images.dataset import Pixels, image_dataset

VALIDATION = 10_000  # of the 60,000 training images


def load_idx_dataset(
    name: str,
    torchvision: str,
    repository: str,
    classes: Sequence[str],
    data_dir: Path | None,
    image_size: int | None,
    image_channels: int | None,
) -> Dataset:
    """Load the four official files, or download the data set from Hugging Face if none of them is on this machine.

    Parameters
    ----------
    name
        The registered name, also the folder searched first.
    torchvision
        The folder in which torchvision stores it, e.g. ``"FashionMNIST"``.
    repository
        Its repository on Hugging Face.
    classes, image_size, image_channels
        See `sglr.data.images.dataset.image_dataset`.
    data_dir
        The data folder, or None for SGLR_DATA_DIR.

    Raises
    ------
    UsageError
        If the files are incomplete or corrupt, or missing and cannot be downloaded.
    """
    folders = candidates(data_dir, name, f"{torchvision}/raw")
    folder = next((folder for folder in folders if any(_files(folder))), None)
    if folder is not None:
        train, test = _read(folder, "train"), _read(folder, "t10k")
    else:
        missing = looked_for("train-images-idx3-ubyte.gz and the three other files", folders)
        splits = fetch(repository, REMEDY, missing)
        train, test = (hub_pixels(splits[part], "image", "label", repository) for part in ("train", "test"))
    # A small extract of the files is too small for the usual validation split.
    validation = VALIDATION if len(train.labels) == 60_000 else None
    return image_dataset(name, train, test, classes, image_size, image_channels, validation)


def _names(part: str) -> tuple[str, str]:
    return f"{part}-images-idx3-ubyte", f"{part}-labels-idx1-ubyte"


def _files(folder: Path) -> list[Path | None]:
    return [first_file(folder, (n, f"{n}.gz")) for part in ("train", "t10k") for n in _names(part)]


def _read(folder: Path, part: str) -> Pixels:
    images, labels = (_find(folder, name) for name in _names(part))
    values, targets = read_idx(images, IMAGES), read_idx(labels, LABELS)
    if len(values) != len(targets):
        problem = f"has {len(values)} images, but {labels.name} {len(targets)} labels"
        raise UsageError("file", images, problem, "download both again, from one place")
    return Pixels(values[..., None], targets.astype(np.int64), str(labels))


def _find(folder: Path, name: str) -> Path:
    found = first_file(folder, (name, f"{name}.gz"))
    if found is None:
        raise UsageError("file", folder / f"{name}.gz", "missing, while the other files are there", "put it there")
    return found
