"""The shape of a data set, without its files if the data set declares it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sglr.core.data import Dataset
from sglr.core.task import Targets
from sglr.data.federate import customary_validation
from sglr.data.load import pick_dataset
from sglr.splitting.input_layout import InputLayout


@dataclass(frozen=True)
class Shape:
    """What a model and a plan need to know about a data set.

    Parameters
    ----------
    input_shape
        Shape of one input, without the sample dimension.
    classes
        Number of classes; 0 where samples have none.
    train
        Number of training samples.
    validation
        How many of them are held out for validation by default.
    other
        What targets are, where samples have no class each.
    layout
        What a row of inputs holds, where samples have several.
    """

    input_shape: tuple[int, ...]
    classes: int
    train: int
    validation: int
    other: Targets | None = None
    layout: InputLayout | None = None

    @property
    def targets(self) -> Targets:
        """What targets are."""
        return Targets(classes=self.classes) if self.other is None else self.other

    @property
    def samples(self) -> int:
        """|D|, the number of training samples of all clients."""
        return self.train - self.validation


def dataset_shape(spec: str, data_dir: Path | None = None, parameters: Mapping[str, object] | None = None) -> Shape:
    """Return the shape of the data set that ``spec`` names.

    It is the class attribute ``stored`` of the data set; a data set without one, such as a folder or a table, is
    loaded. Parameters are those of `sglr.data.load.load_dataset`.

    Raises
    ------
    UsageError
        If the name or a parameter is invalid, or the data set must be loaded and can't be.
    """
    part = pick_dataset(spec, parameters)
    stored: Shape | None = getattr(part, "stored", None)
    if stored is None:
        dataset: Dataset = part.load(data_dir)
        held = customary_validation(dataset)
        other = None if dataset.targets.are_classes else dataset.targets
        layout = InputLayout.of(dataset.encoding)
        return Shape(dataset.input_shape, len(dataset.classes), len(dataset.train), held, other, layout)
    channels, *sides = stored.input_shape
    size, wanted = getattr(part, "image_size", None), getattr(part, "image_channels", None)
    shape = (wanted or channels, *([size] * len(sides) if size else sides))
    return Shape(shape, stored.classes, stored.train, stored.validation)
