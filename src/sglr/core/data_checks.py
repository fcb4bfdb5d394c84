"""Convert samples to tensors, and refuse values that can't be trained on; messages name the row."""

from __future__ import annotations

from typing import NoReturn

import numpy as np
import torch
from torch import Tensor

from sglr.core.errors import UsageError


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
    """Return class numbers as an int64 tensor ``[N]`` on the CPU.

    Raises
    ------
    UsageError
        If they are not integers, or not one per sample.
    """
    targets = _as_tensor("targets", given)
    if targets.dim() == 2 and targets.shape[1] == 1:
        targets = targets[:, 0]
    if targets.dim() != 1:
        problem = "each sample needs one class number"
        remedy = "turn one row per sample into numbers with targets.argmax(1)" if targets.dim() == 2 else "give [N]"
        raise UsageError("targets", _shape(targets), problem, remedy)
    if targets.dtype.is_floating_point:
        _refuse_rows("targets", targets, ~targets.isfinite(), "is missing or infinite", "fill it in, or remove the row")
        remedy = "give class numbers 0, 1, 2 …: sglr trains classifiers"
        _refuse_rows("targets", targets, targets != targets.round(), "is not a class number", remedy)
    return targets.to(torch.int64)


def check_part(part: str, inputs: Tensor, targets: Tensor, classes: int) -> None:
    """Refuse labels outside the classes and inputs that are not finite.

    Parameters
    ----------
    part
        ``"train"``, ``"test"`` or ``"validation"``, for the message.
    inputs, targets
        Its samples, ``[N, ...]``, and their class numbers, int64 ``[N]``.
    classes
        The number of classes.

    Raises
    ------
    UsageError
        If there are any; the message names the first row.
    """
    if not len(targets):
        return
    field = f"{part}.targets"
    low, high = int(targets.min()), int(targets.max())
    if low == 1 and high == classes:
        problem = f"labels run from 1 to {classes}, and classes are counted from 0"
        raise UsageError(field, f"1 to {classes}", problem, "subtract 1")
    if low < 0:
        _refuse_rows(
            field, targets, targets < 0, "is not a class number", "remove unlabelled rows; count classes from 0"
        )
    outside = f"is outside the {classes} classes 0 to {classes - 1}"
    _refuse_rows(field, targets, targets >= classes, outside, "correct it, or name all classes")
    check_finite(f"{part}.inputs", inputs)


def check_finite(field: str, inputs: Tensor) -> None:
    """Refuse inputs ``[N, ...]`` of which one is missing or infinite; the message names the row."""
    # A sum is many times faster than a look at each value, and not finite if one is not (or if it is too large).
    if not inputs.dtype.is_floating_point or inputs.sum().isfinite():
        return
    wrong = ~inputs.flatten(1).isfinite()
    values = inputs.flatten(1).where(wrong, 0).sum(1)
    remedy = "fill in or remove what is missing or infinite"
    _refuse_rows(field, values, wrong.any(1), "is not finite", remedy)


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


def _refuse_rows(field: str, values: Tensor, wrong: Tensor, problem: str, remedy: str) -> None:
    """Refuse the first row for which ``wrong`` ``[N]`` is true, if there is one, with its value."""
    rows = wrong.nonzero()[:, 0]
    if not len(rows):
        return
    row = int(rows[0])
    others = f" (as in {len(rows) - 1} other row(s))" if len(rows) > 1 else ""
    raise UsageError(field, f"{values[row].item():g}", f"row {row} {problem}{others}", remedy)


def _shape(tensor: Tensor) -> str:
    return f"shape {list(tensor.shape)}"
