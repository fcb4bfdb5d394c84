"""Describe loaded data before training: samples, classes with their counts, and what looks wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from sglr.core.data import ClientData, Dataset, Samples
from sglr.core.errors import listed, printable
from sglr.splitting.input_layout import InputLayout

ROOM = 68
"""Most characters for the counts of all classes; if they need more, only the smallest and largest are shown."""

SHOWN = 3  # names in a note
LONGEST = 24  # characters of a name


def samples_line(name: str, train: int, validation: int, test: int) -> str:
    """Return the numbers of samples for training, validation and testing."""
    parts = [f"{train:,} samples to train on"]
    parts += [f"{number:,} for {use}" for use, number in (("validation", validation), ("test", test)) if number]
    return f"{name}: {', '.join(parts)}"


def classes_line(train: Samples, classes: Sequence[str]) -> str:
    """Return how many training samples each class has; for many classes, only the smallest and the largest."""
    counts = np.bincount(train.targets.numpy(), minlength=len(classes)).tolist()
    every = ", ".join(f"{_short(name)} ({count:,})" for name, count in zip(classes, counts, strict=True))
    if len(every) <= ROOM:
        return every
    least, most = int(np.argmin(counts)), int(np.argmax(counts))
    if counts[least] == counts[most]:
        return f"{len(classes):,}, each with {counts[0]:,} training samples"
    span = f"{counts[least]:,} ({_short(classes[least])}) to {counts[most]:,} ({_short(classes[most])})"
    return f"{len(classes):,}, with {span} training samples"


def shape_text(shape: Sequence[int]) -> str:
    """Return the shape of an input, such as ``1 x 28 x 28``."""
    return " x ".join(map(str, shape))


def inputs_text(shape: Sequence[int], encoding: Mapping[str, Any]) -> str:
    """Return the shape of an input; of several inputs per sample, by name, such as ``age 1, image 1 x 28 x 28``."""
    layout = InputLayout.of(encoding)
    if layout is None:
        return shape_text(shape)
    return ", ".join(f"{field.name} {shape_text(field.shape) or '1'}" for field in layout.fields)


def data_lines(name: str, data: ClientData) -> dict[str, str]:
    """Describe divided data: the numbers of samples and the classes."""
    held = 0 if data.validation is None else len(data.validation)
    return {
        "data": samples_line(name, len(data.train), held, len(data.test)),
        **(
            {"classes": classes_line(data.train, data.classes)}
            if data.classes
            else {"targets": data.targets.describe()}
        ),
    }


def division_notes(dataset: Dataset, validation: int | float | None) -> Iterator[str]:
    """Yield what the user should know about a data set before it is divided, a sentence each."""
    for part, samples in (("training", dataset.train), ("test", dataset.test)) if dataset.classes else ():
        counts = np.bincount(samples.targets.numpy(), minlength=len(dataset.classes))
        missing = [name for name, count in zip(dataset.classes, counts, strict=True) if not count]
        if missing and len(samples):
            yield f"there is no {part} sample of class {listed([_short(name) for name in missing], SHOWN)}"
    own = dataset.validation
    if isinstance(own, Samples) and validation is not None:
        yield f"the data set's own {len(own):,} validation samples are not used, because validation = {validation}"


def _short(name: str) -> str:
    """Return a name, shortened and without control characters."""
    kept = printable(name[:LONGEST])
    return kept if len(name) <= LONGEST else f"{kept[:-1]}…"
