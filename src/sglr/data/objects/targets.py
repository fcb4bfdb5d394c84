"""What targets given as arrays are: classes, findings, masks or measurements; what is not certain is asked."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sglr.core.data_checks import IGNORED, as_class_numbers, as_targets
from sglr.core.errors import UsageError
from sglr.core.task import Targets

MANY = 20  # more distinct labels that mostly occur once are measurements rather than classes
TEXTS, NUMBERS = (str, bytes, bool, np.bool_), (int, float, np.number)
Labels = NDArray[Any]
"""Classes as whole numbers or texts ``[N]``; findings of 0 and 1, int64 ``[N, L]``; masks, ``[N, height, width, ...]``;
or measurements, floats ``[N]`` or ``[N, T]``."""

Kind = Literal["auto", "classes", "findings", "numbers"]


def as_labels(given: object, kind: Kind = "auto") -> Labels:
    """Return targets of samples as what they are.

    Parameters
    ----------
    given
        An array, a tensor or a list, ``[N]`` or ``[N, ...]``.
    kind
        What they are; ``"auto"`` where that is certain from their values.

    Raises
    ------
    UsageError
        If one is missing or of another kind, or it is not certain what they are.
    """
    values = given.detach().cpu().numpy() if isinstance(given, Tensor) else _array(given)
    values = values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values
    values = _without_objects(values) if values.dtype.kind == "O" and values.ndim == 1 and len(values) else values
    if values.dtype.kind in "USb" and values.ndim == 1:
        if kind == "numbers":
            raise UsageError("targets", f"type {values.dtype}", "label_kind = numbers needs numbers", "give floats")
        values = np.char.decode(values) if values.dtype.kind == "S" else values.astype(str)
        _refuse_missing(values == "")
        return values
    targets = as_targets(values)
    if kind == "numbers":
        return targets.to(torch.get_default_dtype()).numpy()
    if targets.dim() > 2:
        return _masks(targets)
    if targets.dim() == 2 and kind != "classes":
        return _rows(targets, kind)
    has_fractions = targets.dtype.is_floating_point and bool((targets != targets.round()).any())
    if kind == "auto" and targets.dim() == 1 and has_fractions:
        return targets.numpy()
    return as_class_numbers("targets", targets).numpy()


def settle_targets(parts: Sequence[tuple[Labels, tuple[str, ...]]]) -> tuple[Targets, list[Tensor]]:
    """Return what the targets of all parts are, and those of each part as numbers.

    Parameters
    ----------
    parts
        Labels as `as_labels` returns them, and the class names if they are positions in these.

    Raises
    ------
    UsageError
        If the parts' targets are of different kinds, or are no classes.
    """
    found = [labels for labels, _ in parts]
    if all(labels.dtype.kind in "iuf" for labels in found) and any(labels.dtype.kind == "f" for labels in found):
        found = [labels.astype(np.float64) for labels in found]
    kinds = {(labels.dtype.kind in "US", labels.dtype.kind == "f", labels.shape[1:]) for labels in found}
    known = {names for _, names in parts}
    if len(kinds) > 1 or len(known) > 1:
        problem = "parts have labels of different kinds (numbers, texts, shapes or different class names)"
        raise UsageError("dataset.targets", "labels", problem, "give all parts the same kind of labels")
    shape = found[0].shape[1:]
    if found[0].dtype.kind == "f":
        return Targets(shape=shape, dtype="float32"), [torch.from_numpy(labels) for labels in found]
    if shape:
        classes = 2 if len(shape) == 1 else _classes_of_masks(found)
        kind: Literal["int64", "uint8"] = (
            "int64" if len(shape) == 1 else "uint8" if classes < min(IGNORED[1:]) else "int64"
        )
        return Targets(shape=shape, dtype=kind, classes=classes), [torch.from_numpy(labels) for labels in found]
    classes_named, numbered = _number_classes(found, known.pop())
    return Targets.of_classes(classes_named), numbered


def _number_classes(found: Sequence[Labels], names: tuple[str, ...]) -> tuple[tuple[str, ...], list[Tensor]]:
    if names:
        return names, [as_targets(labels) for labels in found]
    labels = np.concatenate(found)
    values, numbers = np.unique(labels, return_inverse=True)
    _refuse_no_classes(values, labels)
    ends = np.cumsum([0, *map(len, found)])
    return tuple(map(str, values.tolist())), [torch.from_numpy(numbers[a:b]) for a, b in pairwise(ends)]


def _array(given: object) -> Labels:
    try:
        return np.asarray(given)
    except ValueError as error:
        problem = "is not an array: its rows differ in length"
        raise UsageError("targets", type(given).__name__, problem, "give rows of equal length") from error


def _rows(targets: Tensor, kind: Kind) -> Labels:
    """Return several numbers for each sample: findings of 0 and 1, or measurements if some are fractions."""
    shape = f"shape {list(targets.shape)}"
    if not bool(((targets == 0) | (targets == 1)).all()):
        if kind == "auto" and targets.dtype.is_floating_point:
            return targets.numpy()
        problem = "findings are 0 or 1" if kind == "findings" else "each sample has several whole numbers"
        raise UsageError("targets", shape, problem, 'give label_kind="numbers" if they are measurements')
    if kind == "auto" and bool((targets.sum(1) == 1).all()):
        problem = "each row has a single 1, as classes written in rows have"
        remedy = 'turn the rows into classes with targets.argmax(1), or give label_kind="findings"'
        raise UsageError("targets", shape, problem, remedy)
    return targets.to(torch.int64).numpy()


def _masks(targets: Tensor) -> Labels:
    if targets.dtype.is_floating_point:
        rows = (targets != targets.round()).flatten(1).any(1).nonzero()[:, 0]
        if len(rows):
            problem = f"row {int(rows[0])} of the masks has fractions"
            raise UsageError("targets", f"shape {list(targets.shape)}", problem, "give the numbers of classes")
        targets = targets.to(torch.int64)
    return targets.numpy()


def _classes_of_masks(found: Sequence[Labels]) -> int:
    """Return K: one more than the highest class of a pixel; customary numbers of pixels that don't count aside."""
    counted = [np.setdiff1d(np.unique(labels), IGNORED) for labels in found]
    highest = max((int(values.max()) for values in counted if len(values)), default=0)
    if highest == 0:
        problem = "masks have no class but 0 (255 stands for pixels that do not count)"
        raise UsageError(
            "dataset.targets", "masks", problem, "count classes from 0: masks of 0 and 255 become mask // 255"
        )
    return highest + 1


def _without_objects(values: Labels) -> Labels:
    """Convert labels that are Python objects to numbers or texts."""
    _refuse_missing(np.array([_is_missing(value) for value in values], dtype=bool))
    kind = next((kind for kind in (TEXTS, NUMBERS) if isinstance(values[:1].tolist()[0], kind)), ())
    row = next((row for row, value in enumerate(values) if not isinstance(value, kind)), None)
    if row is not None:
        problem = (
            f"the label of row {row} is a {type(values[row]).__name__}, but labels must be all numbers or all texts"
        )
        raise UsageError("targets", values[row], problem, "give labels of one type")
    if kind is NUMBERS:
        return np.array(values.tolist())
    return np.array([value.decode() if isinstance(value, bytes) else str(value) for value in values])


def _is_missing(value: Any) -> bool:
    return (
        value is None or type(value).__name__ in ("NAType", "NaTType") or (isinstance(value, float) and value != value)
    )


def _refuse_missing(missing: NDArray[np.bool_]) -> None:
    rows = np.flatnonzero(missing)
    if len(rows):
        problem = f"row {rows[0]} has no label ({len(rows)} such row(s))"
        raise UsageError("targets", "missing", problem, "fill it in, or remove the row")


def _refuse_no_classes(values: Labels, labels: Labels) -> None:
    if len(values) < 2:
        raise UsageError(
            "dataset.targets",
            values[0],
            "is the only class, but training needs two or more",
            "give samples of other classes",
        )
    # Some use −1 and 1 as two classes; other numbers below 0 usually mean an unknown label.
    if values.dtype.kind == "i" and values[0] < 0 and values.tolist() != [-1, 1]:
        row = int(np.flatnonzero(labels == values[0])[0])
        problem = f"row {row} has a label below 0, which usually means that it is unknown"
        raise UsageError("dataset.targets", values[0], problem, "remove such rows, or give labels as texts")
    if len(values) > max(MANY, len(labels) / 2):
        problem = f"there are {len(values)} different labels in {len(labels)} samples: measurements rather than classes"
        raise UsageError(
            "dataset.targets",
            f"{values[0]} to {values[-1]}",
            problem,
            'give label_kind="numbers", or classes, for example ranges of values',
        )
