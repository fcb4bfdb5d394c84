"""Hugging Face data sets given as objects."""

from __future__ import annotations

from typing import Any

import numpy as np

from sglr.core.errors import UsageError
from sglr.data.objects.arrays import ArrayPart, read_arrays
from sglr.data.objects.frames import TablePart
from sglr.data.objects.items import read_pictures
from sglr.data.objects.several import several_part
from sglr.data.tables.find_columns import find_label_column, find_picture_column

LISTS = ("Sequence", "List", "LargeList", "Array2D", "Array3D", "Array4D", "Array5D")


def read_hub(given: Any, label: str) -> ArrayPart | TablePart:
    """Return one split: a column of pictures or of arrays, or else columns of a table, with a column of classes.

    Parameters
    ----------
    given
        The ``datasets.Dataset``.
    label
        The column of classes; empty for the one with a usual name.

    Raises
    ------
    UsageError
        If it is streamed, or the columns can't be found.
    """
    if not hasattr(given, "__len__"):
        raise UsageError("", type(given).__name__, "is a streamed data set", "load it with streaming=False")
    plain = given.with_format(None)
    column = find_label_column(list(plain.features), label, "the data set", "label")
    labels = plain[column][:]
    names = tuple(getattr(plain.features[column], "names", None) or ())
    pictures = find_picture_column(plain.features, "", "the data set")
    if pictures:
        return read_pictures(plain[pictures][:], labels, names)
    arrays = [name for name, kind in plain.features.items() if type(kind).__name__ in LISTS]
    if len(arrays) == 1 and len(plain.features) == 2:
        return read_arrays(_stacked(plain[arrays[0]][:], arrays[0]), labels, names)
    others = [name for name in plain.features if name != column]
    if arrays and all(name in arrays or _is_number(plain.features[name]) for name in others):
        return several_part({name: _stacked(plain[name][:], name) for name in others}, labels, names)
    return TablePart(plain.to_pandas(), (column,))


def _is_number(kind: Any) -> bool:
    return str(getattr(kind, "dtype", "")).startswith(("int", "uint", "float", "bool"))


def _stacked(values: Any, column: str) -> Any:
    try:
        return np.array(values)
    except ValueError as error:
        problem = "the arrays in this column differ in shape"
        raise UsageError("column", column, problem, "give all the same shape") from error
