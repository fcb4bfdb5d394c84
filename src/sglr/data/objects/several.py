"""Read several inputs per sample, given as a dict or a tuple of arrays, into one row for each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sglr.core.errors import UsageError
from sglr.data.objects.arrays import ArrayPart, as_values, is_sparse
from sglr.data.objects.targets import Kind, as_labels
from sglr.data.stored import Store
from sglr.splitting.input_layout import KEY, InputField, InputLayout


def is_several(given: object) -> bool:
    """Say whether inputs are given as a dict of arrays by name, or as a tuple of arrays."""
    return isinstance(given, Mapping) or (isinstance(given, tuple) and not hasattr(given, "_fields"))


def pack_inputs(inputs: Any) -> tuple[Tensor, dict[str, Any]]:
    """Return several inputs per sample as rows, and the encoding of a data set of these.

    With them `sglr.Dataset` is made of samples with several inputs: ``sglr.Samples(rows, targets)`` and
    ``sglr.Dataset(..., encoding=encoding)``.

    Parameters
    ----------
    inputs
        A mapping of names to arrays ``[N, ...]``, or a tuple of arrays.

    Raises
    ------
    UsageError
        If one is no array, or numbers of samples differ; the message names the input.
    """
    rows, layout = read_several(inputs)
    return rows, {"kind": "arrays", KEY: layout.described()}


def read_several(given: Any, wanted: InputLayout | None = None) -> tuple[Tensor, InputLayout]:
    """Return inputs as rows ``[N, L]``, and what they hold.

    Parameters
    ----------
    given
        A mapping of names to arrays ``[N, ...]``, or a tuple of arrays. Bytes of three to five dimensions are pixels,
        scaled to ±1; other whole numbers stay such, and truths.
    wanted
        What the inputs must be; None for whatever they are.

    Raises
    ------
    UsageError
        If one is no array, numbers of samples differ, or they are not what is wanted; the message names the input.
    """
    named = dict(given) if isinstance(given, Mapping) else {str(at): each for at, each in enumerate(given)}
    _check_names(named, wanted)
    if isinstance(given, Mapping):  # in one order, whatever that of a file is
        named = dict(sorted(named.items()))
    values = {name: _values(name, each) for name, each in named.items()}
    if wanted is not None:
        values = {name: _as_wanted(name, values[name], wanted) for name in wanted.names}
    counts = {name: len(each) for name, each in values.items()}
    first = next(iter(counts))
    for name, count in counts.items():
        if count != counts[first]:
            problem = f"input {first} has {counts[first]}"
            raise UsageError(f"inputs[{name!r}]", f"{count} samples", problem, "give a row of each for each sample")
    layout = InputLayout(tuple(_field(name, each) for name, each in values.items()))
    return layout.pack(values), layout


def several_part(
    inputs: Any, labels: object, names: Sequence[str] = (), store: Store = "memory", kind: Kind = "auto"
) -> ArrayPart:
    """Return a part of several inputs per sample, as `sglr.data.objects.arrays.read_arrays` does of one.

    Raises
    ------
    UsageError
        If they are no such arrays, or are to stay in files.
    """
    if store == "disk":
        remedy = "leave it out, or give one array"
        raise UsageError("sample_store", store, "several inputs per sample are held in memory", remedy)
    rows, layout = read_several(inputs)
    return ArrayPart(rows, as_labels(labels, kind), tuple(names), layout=layout)


def stacked_items(items: Sequence[Any], source: str) -> Any:
    """Return the inputs of a data set's items, each a dict or a tuple, as a dict or tuple of arrays.

    Raises
    ------
    UsageError
        If an item has other inputs than the first; the message names it.
    """
    first = items[0]
    keys = list(first) if isinstance(first, Mapping) else list(range(len(first)))
    for number, item in enumerate(items):
        own = list(item) if isinstance(item, Mapping) else list(range(len(item))) if isinstance(item, tuple) else None
        if own is None or sorted(map(str, own)) != sorted(map(str, keys)):
            told = ", ".join(map(str, own)) if own is not None else type(item).__name__
            problem = f"the first item of {source} has inputs {', '.join(map(str, keys))}"
            raise UsageError(f"item {number}", told, problem, "give all items the same inputs")
    arrays = {key: _stacked(str(key), [item[key] for item in items]) for key in keys}
    return arrays if isinstance(first, Mapping) else tuple(arrays.values())


def _stacked(name: str, values: list[Any]) -> Any:
    arrays: list[Any] = [value if isinstance(value, Tensor) else np.asarray(value) for value in values]
    for number, array in enumerate(arrays):
        if array.shape != arrays[0].shape or array.dtype != arrays[0].dtype:
            found, known = (f"{each.dtype} {list(each.shape)}" for each in (array, arrays[0]))
            problem = f"input {name} of item 0 is {known}"
            raise UsageError(f"item {number}", found, problem, "give all items the same shapes and types")
    return torch.stack(arrays) if isinstance(arrays[0], Tensor) else np.stack(arrays)


def _check_names(named: Mapping[Any, Any], wanted: InputLayout | None) -> None:
    for name in named:
        if not isinstance(name, str) or not name or not name.isprintable():
            raise UsageError("inputs", repr(name)[:60], "is no name", "name each input by a text")
    if not named:
        raise UsageError("inputs", "none", "there is no input", "give at least one array by its name")
    if wanted is not None and set(named) != set(wanted.names):
        problem = f"the network was trained on {', '.join(wanted.names)}"
        raise UsageError("inputs", ", ".join(named), problem, "give inputs of these names")


def _values(name: str, given: Any) -> Tensor:
    with _named(name):
        array = given if isinstance(given, Tensor) or is_sparse(given) else _read(given)
        if str(getattr(array, "dtype", "")) in ("bool", "torch.bool"):
            return torch.as_tensor(array).cpu()
        single = getattr(array, "ndim", 2) == 1
        return as_values(array[:, None])[:, 0] if single else as_values(array)


def _read(given: Any) -> Any:
    values = given[()] if hasattr(given, "file") and hasattr(given, "id") else given
    try:
        return np.asarray(values)
    except ValueError as error:
        raise UsageError("inputs", type(given).__name__, "its rows differ in length", "fill them up") from error


def _as_wanted(name: str, values: Tensor, wanted: InputLayout) -> Tensor:
    field = next(each for each in wanted.fields if each.name == name)
    if field.dtype == "float32" and not values.is_floating_point():
        values = values.to(torch.get_default_dtype())
    if tuple(values.shape[1:]) == field.shape[1:] and field.shape[:1] == (1,):
        values = values.unsqueeze(1)
    found = _field(name, values)
    if found != field:
        problem = f"the network was trained on {field.dtype} {list(field.shape)}"
        raise UsageError(f"inputs[{name!r}]", f"{found.dtype} {list(found.shape)}", problem, "give data of that kind")
    return values


def _field(name: str, values: Tensor) -> InputField:
    kinds = {torch.bool: "bool", torch.int64: "int64"}
    return InputField(name, tuple(values.shape[1:]), kinds.get(values.dtype, "float32"))


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Let errors say which input they are about."""
    try:
        yield
    except UsageError as error:
        raise UsageError(f"inputs[{name!r}]", error.value, error.problem, error.remedy) from error
