"""Load CIFAR-10 or CIFAR-100 from this machine or from Hugging Face."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sglr.core.data import Dataset
from sglr.core.errors import UsageError
from sglr.data.formats.cifar import join, read_members
from sglr.data.formats.files import REMEDY, candidates, looked_for
from sglr.data.formats.hub import fetch, hub_pixels
from sglr.data.images.dataset import image_dataset


@dataclass(frozen=True)
class Layout:
    """How the official files of one of the two data sets are named and laid out."""

    name: str
    classes: int
    folder: str
    archive: str
    python: tuple[str, str]  # folder and archive of the version that is pickled
    train: tuple[str, ...]
    test: tuple[str, ...]
    class_names: str
    label_bytes: int
    repository: str
    label_column: str


def load_cifar(layout: Layout, data_dir: Path | None, image_size: int | None, image_channels: int | None) -> Dataset:
    """Load the official binary files, or download the data set if they are not on this machine.

    Raises
    ------
    UsageError
        If the files are incomplete or corrupt, pickled, or missing and cannot be downloaded.
    """
    folders = candidates(data_dir, layout.name)
    place = _place(layout, folders)
    if place is not None:
        files = read_members(place, (*layout.train, *layout.test, layout.class_names))
        train, test = (join(files, n, layout.label_bytes, place) for n in (layout.train, layout.test))
        names = files.get(layout.class_names, b"").decode(errors="replace").split()
    else:
        _refuse_pickle(layout, folders)
        splits = fetch(layout.repository, REMEDY, looked_for(layout.archive, folders))
        train, test = (
            hub_pixels(splits[part], "img", layout.label_column, layout.repository) for part in ("train", "test")
        )
        names = splits["train"].features[layout.label_column].names
    if len(names) != layout.classes:
        names = [str(number) for number in range(layout.classes)]
    return image_dataset(layout.name, train, test, names, image_size, image_channels)


def _place(layout: Layout, folders: list[Path]) -> Path | None:
    for folder in folders:
        for place in (folder / layout.folder, folder):
            if (place / layout.train[0]).is_file():
                return place
        if (folder / layout.archive).is_file():
            return folder / layout.archive
    return None


def _refuse_pickle(layout: Layout, folders: list[Path]) -> None:
    pickled = [folder / name for folder in folders for name in layout.python if (folder / name).exists()]
    if pickled:
        problem = "this is the Python version, which is pickled: loading it could run arbitrary code"
        remedy = f"put the binary version there, {layout.archive} from https://www.cs.toronto.edu/~kriz/cifar.html"
        raise UsageError("file", pickled[0], problem, remedy)
