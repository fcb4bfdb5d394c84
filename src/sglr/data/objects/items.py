"""Read torch data sets item by item: pairs of an input and a label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sglr.core.errors import UsageError
from sglr.data.objects.arrays import ArrayPart, read_arrays

GREY = ("1", "L", "LA")


def read_items(items: Any, source: str) -> ArrayPart:
    """Return all items of a map-style data set, which has a length and answers ``items[i]`` with (input, label).

    Inputs are tensors, arrays, numbers or Pillow images, all alike; labels are numbers or texts. Names of the classes
    are taken from its attribute ``classes``, as data sets of torchvision have it.

    Parameters
    ----------
    items
        The data set.
    source
        What it is, for messages.

    Raises
    ------
    UsageError
        If an item can't be read, or differs in kind from the first; the message names it.
    """
    pairs = [_pair(items, index, source) for index in range(len(items))]
    if not pairs:
        raise UsageError("inputs", "0 samples", f"{source} has no items", "give some")
    inputs, labels = zip(*pairs, strict=True)
    plain = [label.item() if isinstance(label, Tensor | np.generic | np.ndarray) else label for label in labels]
    names = _names(items) if isinstance(plain[0], int) else ()
    if _is_picture(inputs[0]):
        part = read_pictures(inputs, plain, names)
    else:
        part = read_arrays(_stacked(inputs, source), plain, names)
    return replace(part, notes=_notes(items, source))


def read_pictures(images: Sequence[Any], labels: object, names: tuple[str, ...] = ()) -> ArrayPart:
    """Return a part of Pillow images of one size: grey if all are, else colour, scaled to ±1.

    Raises
    ------
    UsageError
        If one is none, or has not 8 bits, or another size than the first; the message names it.
    """
    for index, image in enumerate(images):
        if not _is_picture(image) or image.mode[0] in "IF":
            kind = f"picture of mode {image.mode}" if _is_picture(image) else type(image).__name__
            problem = f"a picture of 8 bits is needed, and it is a {kind}"
            raise UsageError(f"item {index}", kind, problem, "give 8 bits, or floats with a transform")
        if image.size != images[0].size:
            problem = f"the first picture has size {images[0].size}"
            raise UsageError(f"item {index}", image.size, problem, "resize all pictures alike")
    mode = "L" if all(image.mode in GREY for image in images) else "RGB"
    values = np.stack([np.asarray(image.convert(mode), dtype=np.uint8) for image in images])
    return read_arrays(values, labels, names)


def _is_picture(value: Any) -> bool:
    return hasattr(value, "convert") and hasattr(value, "mode")


def _notes(items: Any, source: str) -> tuple[str, ...]:
    if getattr(items, "transform", None) is None:
        return ()
    return (f"each item of {source} was read once: a transform that draws random numbers does not vary with epochs",)


def _pair(items: Any, index: int, source: str) -> tuple[Any, Any]:
    try:
        item = items[index]
    except Exception as error:  # whatever the user's own code raises
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise UsageError(f"item {index}", source, f"can't be read ({reason})", "correct the data set") from error
    if not isinstance(item, tuple | list) or len(item) != 2:
        problem = f"is a {type(item).__name__}, and a pair is needed"
        raise UsageError(f"item {index}", source, problem, "return (input, label) from __getitem__")
    _refuse_odd_label(item[1], index)
    return item[0], item[1]


def _refuse_odd_label(label: Any, index: int) -> None:
    single = isinstance(label, str | bytes | int | float | np.generic) or (
        isinstance(label, Tensor | np.ndarray) and np.prod(label.shape) == 1
    )
    if label is not None and not single:
        shape = f" of shape {list(label.shape)}" if hasattr(label, "shape") else ""
        problem = f"the label is a {type(label).__name__}{shape}, and one number or text is needed"
        raise UsageError(f"item {index}", type(label).__name__, problem, "give the class number; of one-hot: argmax()")


def _stacked(inputs: Sequence[Any], source: str) -> Any:
    arrays: list[Any] = [value if isinstance(value, Tensor) else np.asarray(value) for value in inputs]
    first = arrays[0]
    for index, array in enumerate(arrays):
        if array.shape != first.shape or array.dtype != first.dtype:
            problem = f"is {array.dtype} {list(array.shape)}, and item 0 is {first.dtype} {list(first.shape)}"
            raise UsageError(f"item {index}", source, problem, "make all items alike, such as with a transform")
    stacked = torch.stack(arrays) if isinstance(first, Tensor) else np.stack(arrays)
    return stacked[:, None] if stacked.ndim == 1 else stacked


def _names(items: Any) -> tuple[str, ...]:
    """Return the names of the classes, of a subset those of the whole."""
    while not hasattr(items, "classes") and hasattr(items, "dataset"):
        items = items.dataset
    names = getattr(items, "classes", None)
    return tuple(map(str, names)) if isinstance(names, list | tuple) and len(names) > 1 else ()
