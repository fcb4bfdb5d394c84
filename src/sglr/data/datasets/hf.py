"""A data set of the Hugging Face hub: hf:NAME, with a column of pictures or columns of numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sglr.core.data import Dataset
from sglr.core.errors import UsageError
from sglr.data.file_samples import OnBad
from sglr.data.formats.hub import fetch, hub_pictures
from sglr.data.images.dataset import check_form
from sglr.data.images.decode import PictureReader
from sglr.data.images.decoded import picture_dataset
from sglr.data.images.pixel_range import PIXEL_RANGE, stated_range
from sglr.data.split import stratified_split
from sglr.data.tables.dataset import Reading, table_dataset
from sglr.data.tables.find_columns import find_label_column, find_picture_column

__all__ = ["Hf"]

VALIDATIONS = ("validation", "valid", "val")
TESTS = ("test", *VALIDATIONS)


@dataclass(frozen=True)
class Hf:
    """Any classification data set that ``datasets.load_dataset`` can load, or local data files."""

    name: str = field(default="", metadata={"help": "its name on the Hugging Face hub"})
    image_column: str = field(default="", metadata={"help": "column of pictures; default: the only one"})
    label_column: str = field(default="", metadata={"help": "column of classes; default: label or a similar name"})
    group_columns: tuple[str, ...] = field(
        default=(), metadata={"help": "columns kept for partition natural, not used as features"}
    )
    image_size: int | None = field(
        default=None, metadata={"help": "height and width to resize pictures to, in pixels", "clients": "take"}
    )
    image_channels: int | None = field(default=None, metadata={"help": "1 for grey, 3 for colour", "clients": "take"})
    pixel_range: tuple[float, ...] | None = field(default=None, metadata=PIXEL_RANGE)
    on_bad: OnBad = field(
        default="error",
        metadata={"help": "what to do with unreadable pictures", "since": "0.2.0"},
    )
    test_fraction: float = field(
        default=0.2, metadata={"help": "fraction held out for testing if there is no test split"}
    )
    split_seed: int = field(default=0, metadata={"help": "seed for drawing the test samples"})

    def load(self, data_dir: Path | None) -> Dataset:  # noqa: ARG002 - the hub's client has its own cache
        """Fetch the data set and find its columns.

        Raises
        ------
        UsageError
            If it cannot be fetched, or has no column of classes.
        """
        if not self.name:
            raise UsageError("hf", self.name, "no name", "give it after a colon, as in hf:ylecun/mnist")
        splits = fetch(self.name, "check the name and the connection")
        label = find_label_column(list(_training(splits, self.name).features), self.label_column, self.name)
        train, test = self._parts(splits, label)
        image = find_picture_column(train.features, self.image_column, self.name)
        if not image:
            return self._table(train, test, label)
        # Without a test split, the validation split is used for testing.
        apart = next((splits[part] for part in VALIDATIONS if part in splits), None) if "test" in splits else None
        return self._images(train, apart, test, image, label)

    def _parts(self, splits: Any, label: str) -> tuple[Any, Any]:
        train = _training(splits, self.name)
        test = next((splits[part] for part in TESTS if part in splits), None)
        if test is not None:
            return train, test
        own, held = stratified_split(np.asarray(train[label][:]), self.test_fraction, self.split_seed)
        return train.select(own), train.select(held)

    def _images(self, train: Any, validation: Any, test: Any, image: str, label: str) -> Dataset:
        check_form(self.image_size, self.image_channels)
        stated = stated_range(self.pixel_range)
        classes, *labels = _number([train, validation, test], label)
        reader = PictureReader(self.image_size, self.on_bad)
        own, apart, held = (
            None if part is None else reader.read(hub_pictures(part, image, numbers), self.name, classes)
            for part, numbers in zip((train, validation, test), labels, strict=True)
        )
        assert own is not None and held is not None, "only validation may be missing"
        return picture_dataset(f"hf:{self.name}", (own, apart, held), classes, reader, stated, self.image_channels)

    def _table(self, train: Any, test: Any, label: str) -> Dataset:
        import pandas as pd

        frames = train.to_pandas(), test.to_pandas()
        held = np.arange(sum(map(len, frames))) >= len(frames[0])
        reading = Reading((label,), groups=self.group_columns)
        return table_dataset(f"hf:{self.name}", pd.concat(frames, ignore_index=True), reading, self.name, held)


def _training(splits: Any, name: str) -> Any:
    if "train" not in splits:
        raise UsageError("hf", name, "has no training split", f"its splits are {', '.join(splits)}")
    return splits["train"]


def _number(parts: Sequence[Any], label: str) -> tuple[list[str], *tuple[NDArray[np.int64], ...]]:
    """Return the class names, and each part's labels as positions in them (None for a part that is None)."""
    found = [np.array([]) if part is None else np.asarray(part[label][:]) for part in parts]
    names = getattr(parts[0].features[label], "names", None)
    if names is not None:
        return names, *(labels.astype(np.int64) for labels in found)
    values = np.unique(np.concatenate([labels for labels in found if len(labels)]))
    return [str(value) for value in values], *(np.searchsorted(values, labels) for labels in found)
