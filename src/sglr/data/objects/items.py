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
from sglr.data.objects.several import is_several, several_part, stacked_items

GREY = ("1", "L", "LA")


def read_items(items: Any, source: str) -> ArrayPart:
    """Return all items of a map-style data set, which has a length and returns (input, label) for ``items[i]``.

    Inputs are tensors, arrays, numbers or Pillow images, all of one kind, or dicts or tuples of several; labels are
    numbers or texts. Class names are taken from its attribute ``classes``, which torchvision's data sets have.

    Parameters
    ----------
    items
        The data set.
    source
        Its name for messages.

    Raises
    ------
    UsageError
        If an item can't be read, or differs from the first in type or shape; the message names it.
    """
    pairs = [_pair(items, index, source) for index in range(len(items))]
    if not pairs:
        raise UsageError("inputs", "0 samples", f"{source} has no items", "give at least one")
    inputs, labels = zip(*pairs, strict=True)
    plain = [label.item() if isinstance(label, Tensor | np.generic | np.ndarray) else label for label in labels]
    names = _names(items) if isinstance(plain[0], int) else ()
    if is_several(inputs[0]):
        part = several_part(stacked_items(inputs, source), plain, names)
    elif _is_picture(inputs[0]):
        part = read_pictures(inputs, plain, names)
    else:
        part = read_arrays(_stacked(inputs, source), plain, names)
    return replace(part, notes=_notes(items, source))


def read_pictures(images: Sequence[Any], labels: object, names: tuple[str, ...] = ()) -> ArrayPart:
    """Return a part of Pillow images of one size: grey if all are, else colour, scaled to ±1.

    Raises
    ------
    UsageError
        If one is not a picture, does not have 8 bits, or differs from the first in size; the message names it.
    """
    for index, image in enumerate(images):
        if not _is_picture(image) or image.mode[0] in "IF":
            kind = f"picture of mode {image.mode}" if _is_picture(image) else type(image).__name__
            problem = f"not an 8-bit picture but a {kind}"
            raise UsageError(f"item {index}", kind, problem, "give 8-bit pictures, or floats by a transform")
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
    return (f"each item of {source} was read once: random transforms do not change between epochs",)


def _pair(items: Any, index: int, source: str) -> tuple[Any, Any]:
    try:
        item = items[index]
    except Exception as error:  # the user's own code may raise anything
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise UsageError(f"item {index}", source, f"can't be read ({reason})", "correct the data set") from error
    if not isinstance(item, tuple | list) or len(item) != 2:
        problem = f"is a {type(item).__name__}, not a pair"
        raise UsageError(f"item {index}", source, problem, "return (input, label) from __getitem__")
    _refuse_odd_label(item[1], index)
    return item[0], item[1]


def _refuse_odd_label(label: Any, index: int) -> None:
    single = isinstance(label, str | bytes | int | float | np.generic) or (
        isinstance(label, Tensor | np.ndarray) and np.prod(label.shape) == 1
    )
    if label is not None and not single:
        shape = f" of shape {list(label.shape)}" if hasattr(label, "shape") else ""
        problem = f"the label is a {type(label).__name__}{shape}, not one number or text"
        raise UsageError(
            f"item {index}", type(label).__name__, problem, "give the class number; for one-hot labels: argmax()"
        )


def _stacked(inputs: Sequence[Any], source: str) -> Any:
    arrays: list[Any] = [value if isinstance(value, Tensor) else np.asarray(value) for value in inputs]
    first = arrays[0]
    for index, array in enumerate(arrays):
        if array.shape != first.shape or array.dtype != first.dtype:
            problem = f"is {array.dtype} {list(array.shape)}, but item 0 is {first.dtype} {list(first.shape)}"
            raise UsageError(
                f"item {index}", source, problem, "give all items the same type and shape, for example by a transform"
            )
    stacked = torch.stack(arrays) if isinstance(first, Tensor) else np.stack(arrays)
    return stacked[:, None] if stacked.ndim == 1 else stacked


def _names(items: Any) -> tuple[str, ...]:
    """Return the class names; for a subset, those of the whole data set."""
    while not hasattr(items, "classes") and hasattr(items, "dataset"):
        items = items.dataset
    names = getattr(items, "classes", None)
    return tuple(map(str, names)) if isinstance(names, list | tuple) and len(names) > 1 else ()
