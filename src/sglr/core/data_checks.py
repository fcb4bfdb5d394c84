"""Convert samples to tensors, and refuse values that can't be trained on; messages name the row."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NoReturn

import numpy as np
import torch
from torch import Tensor

from sglr.core.errors import UsageError
from sglr.core.task import Targets

IGNORED = (-100, 255)
"""Customary numbers of pixels and positions that don't count, beyond the classes; a task says which it ignores."""

UNSTATED = Targets()
"""In place of the targets of a `Dataset` that does not say what they are."""

if TYPE_CHECKING:
    from sglr.core.data import Inputs


def as_inputs(given: object) -> Tensor:
    """Return inputs as a float32 tensor ``[N, ...]`` on the CPU, or int64 where they are whole numbers (tokens).

    Raises
    ------
    UsageError
        If they are not numbers, or their type or shape is ambiguous.
    """
    inputs = _as_tensor("inputs", given)
    if inputs.dtype == torch.uint8:
        problem = "bytes may be pixels or tokens"
        raise UsageError("inputs", "uint8", problem, "give pixels as floats, such as x / 127.5 - 1, or tokens as int64")
    if inputs.dim() < 2:
        problem = "they need a dimension for the samples and one for the values"
        raise UsageError("inputs", _shape(inputs), problem, "give [N, ...]; one number per sample is inputs[:, None]")
    if 0 in inputs.shape[1:]:
        raise UsageError("inputs", _shape(inputs), "a sample has no values", "give at least one per sample")
    floats = inputs.dtype.is_floating_point or inputs.dtype == torch.bool
    # Single precision, unless torch computes in another (the laws are tested in double precision).
    return inputs.to(torch.get_default_dtype() if floats else torch.int64)


def as_targets(given: object) -> Tensor:
    """Return targets as a tensor ``[N]`` or ``[N, ...]`` on the CPU; ``[N, 1]`` becomes ``[N]``.

    Whole numbers become int64, but bytes and truths in two or more dimensions of a sample (masks) stay uint8. Floats
    get torch's default type; `Dataset` makes class numbers of them where the data set has classes.

    Raises
    ------
    UsageError
        If they are not numbers, or one is missing or infinite; the message names the row.
    """
    targets = _as_tensor("targets", given)
    if not targets.dim() or 0 in targets.shape[1:]:
        raise UsageError("targets", _shape(targets), "a sample needs a target", "give [N] or [N, ...]")
    if targets.dim() == 2 and targets.shape[1] == 1:
        targets = targets[:, 0]
    if not targets.dtype.is_floating_point:
        is_mask = targets.dtype in (torch.uint8, torch.bool) and targets.dim() > 2
        return targets.to(torch.uint8 if is_mask else torch.int64)
    _refuse_rows("targets", targets, ~targets.isfinite(), "is missing or infinite", "fill it in, or remove the row")
    return targets.to(torch.get_default_dtype())


def as_class_numbers(field: str, targets: Tensor) -> Tensor:
    """Return class numbers as int64 ``[N]``.

    Raises
    ------
    UsageError
        If they are not whole numbers, or not one per sample.
    """
    if targets.dim() != 1:
        remedy = "turn one row per sample into numbers with targets.argmax(1)" if targets.dim() == 2 else "give [N]"
        remedy += ", or, for targets of another kind, targets=sglr.Targets(...) without classes"
        raise UsageError(field, _shape(targets), "each sample needs one class number", remedy)
    _refuse_fractions(field, targets)
    return targets.to(torch.int64)


def settled_targets(names: object, given: Targets, found: Sequence[Tensor]) -> Targets:
    """Return what targets are: as given, class numbers if classes are, or measurements if they are fractions.

    Raises
    ------
    UsageError
        If it is unknown, or the names of classes and what is given don't fit one another.
    """
    classes = _class_names(names)
    if given != UNSTATED:
        return _consistent(given, classes)
    if classes:
        return Targets.of_classes(classes)
    if any(targets.dtype.is_floating_point for targets in found):
        return Targets(shape=tuple(found[0].shape[1:]), dtype="float32")
    problem = "whole numbers may be classes or measurements"
    remedy = "give the names of the classes, or targets=sglr.Targets(...), for measurements with dtype='float32'"
    raise UsageError("classes", "none", problem, remedy)


def _consistent(given: Targets, classes: tuple[str, ...]) -> Targets:
    """Return targets as given, with numbers for names of classes that have none."""
    if (given.dtype == "float32") != (given.classes == 0):
        problem = "only measurements, whose dtype is 'float32', have 0 classes"
        raise UsageError("targets.classes", given.classes, problem, "correct classes or dtype of sglr.Targets(...)")
    width = math.prod(given.shape)
    if given.units and (given.classes or len(given.units) != width or not all(std > 0 for _, std in given.units)):
        problem = "a mean and a standard deviation above 0 belong to each measurement"
        raise UsageError("targets.units", given.units, problem, f"give {width} pairs of numbers, or none")
    if given.are_classes and not given.names:
        given = replace(given, names=tuple(map(str, range(given.classes))))
    names = _class_names(given.names)
    if given.are_classes and len(names) != given.classes:
        raise UsageError("targets.names", f"{len(names)} names", f"there are {given.classes} classes", "name each once")
    if classes and classes != (names if given.are_classes else ()):
        problem = "targets = sglr.Targets(...) says otherwise"
        raise UsageError("classes", ",".join(classes), problem, "leave out classes, or targets")
    return given


def _class_names(classes: object) -> tuple[str, ...]:
    if isinstance(classes, str) or not isinstance(classes, Sequence):
        raise UsageError("classes", classes, "is not a list of names", 'give one for each class, such as ("no", "yes")')
    names = tuple(map(str, classes))
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UsageError("classes", twice, "names two classes", "give each class a name of its own")
    return names


def fitting_targets(field: str, targets: Tensor, wanted: Targets) -> Tensor:
    """Return targets ``[N, ...]`` in the type of those that a data set says it has.

    Raises
    ------
    UsageError
        If they have another shape, are no whole numbers, or are outside the classes; the message names the row.
    """
    if wanted.are_classes:
        targets = as_class_numbers(field, targets)
    elif tuple(targets.shape[1:]) != wanted.shape:
        remedy = f"give [N{''.join(f', {length}' for length in wanted.shape)}]"
        raise UsageError(field, _shape(targets), f"the targets are {wanted.describe()}", remedy)
    if wanted.classes and len(targets):
        _refuse_fractions(field, targets)
        _check_range(field, targets, wanted)
    return targets.to(wanted.torch_dtype)


def _refuse_fractions(field: str, targets: Tensor) -> None:
    if targets.dtype.is_floating_point:
        remedy = (
            "give whole numbers from 0, or, for measurements, targets=sglr.Targets(dtype='float32') without classes"
        )
        _refuse_rows(field, targets, targets != targets.round(), "is not a class number", remedy)


def _check_range(field: str, targets: Tensor, wanted: Targets) -> None:
    classes = wanted.classes
    low, high = int(targets.min()), int(targets.max())
    if low >= 0 and high < classes:
        return
    if wanted.are_classes and low == 1 and high == classes:
        problem = f"labels run from 1 to {classes}, and classes are counted from 0"
        raise UsageError(field, f"1 to {classes}", problem, "subtract 1")
    wrong = (targets < 0) | (targets >= classes)
    if len(wanted.shape) > 1 or (wanted.shape and classes > 2):
        for ignored in IGNORED:
            wrong &= targets != ignored
    elif low < 0:
        remedy = "remove unlabelled rows; count classes from 0"
        _refuse_rows(field, targets, targets < 0, "is not a class number", remedy)
    outside = f"is outside the {classes} classes 0 to {classes - 1}"
    _refuse_rows(field, targets, wrong, outside, "correct it, or name all classes")


def check_finite(field: str, inputs: Inputs) -> None:
    """Refuse inputs ``[N, ...]`` of which one is missing or infinite; the message names the row.

    Stored inputs are looked at once, chunk by chunk.
    """
    if isinstance(inputs, Tensor):
        _check_finite(field, inputs, 0)
    elif not inputs.finite:
        first = 0
        for chunk in inputs.chunks():
            _check_finite(field, chunk, first)
            first += len(chunk)
        inputs.finite = True


def _check_finite(field: str, inputs: Tensor, before: int) -> None:
    """Refuse inputs of which one is not finite, given how many rows come before them."""
    # A sum is many times faster than a look at each value, and not finite if one is not (or if it is too large).
    if not inputs.dtype.is_floating_point or inputs.sum().isfinite():
        return
    remedy = "fill in or remove what is missing or infinite"
    _refuse_rows(field, inputs, ~inputs.isfinite(), "is not finite", remedy, before)


def _as_tensor(field: str, given: object) -> Tensor:
    tensor = given if isinstance(given, Tensor) else _from_numpy(field, given)
    if tensor.is_complex() or tensor.is_quantized:
        raise UsageError(field, str(tensor.dtype), "type is not supported", "give real numbers, such as float32")
    tensor = tensor.detach() if tensor.requires_grad else tensor
    return (tensor if tensor.layout == torch.strided else tensor.to_dense()).cpu()


def _from_numpy(field: str, given: object) -> Tensor:
    try:
        array = np.asarray(given)
    except ValueError as error:
        problem = f"is not an array of numbers ({str(error).partition(';')[0].partition('. The')[0]})"
        raise UsageError(field, type(given).__name__, problem, "give rows of equal length") from error
    if array.dtype.kind not in "biuf":
        _refuse_type(field, given, array)
    # Torch knows neither foreign byte orders nor all widths; bytes and truths are told apart later.
    kept = array.dtype in (np.uint8, np.bool_, np.float32)
    wanted = array.dtype if kept else np.int64 if array.dtype.kind in "iu" else np.float64
    array = np.ascontiguousarray(array, dtype=wanted).reshape(array.shape)
    return torch.from_numpy(array if array.flags.writeable else array.copy())


def _refuse_type(field: str, given: object, array: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> NoReturn:
    if array.dtype.kind in "USO" and field == "targets":
        remedy = "give class numbers 0, 1, 2 …, or sglr.train(dataset=(X, y)), which numbers labels"
        raise UsageError(field, f"type {array.dtype}", "labels are not numbers", remedy)
    if not array.ndim:
        remedy = "give a tensor or a NumPy array"
        raise UsageError(field, type(given).__name__, "is not an array of numbers", remedy)
    raise UsageError(
        field, f"type {array.dtype}", "values are not numbers", "convert them, such as x.astype('float32')"
    )


def _refuse_rows(field: str, values: Tensor, wrong: Tensor, problem: str, remedy: str, before: int = 0) -> None:
    """Refuse the first row of ``values`` ``[N, ...]`` in which ``wrong`` is true anywhere, if there is one."""
    rows = wrong.reshape(len(wrong), math.prod(wrong.shape[1:])).any(1).nonzero()[:, 0]  # of no row, too
    if not len(rows):
        return
    row = int(rows[0])
    first = values[row][wrong[row]][0].item()
    others = f" (as in {len(rows) - 1} other row(s))" if len(rows) > 1 else ""
    raise UsageError(field, f"{first:g}", f"row {before + row} {problem}{others}", remedy)


def _shape(tensor: Tensor) -> str:
    return f"shape {list(tensor.shape)}"
