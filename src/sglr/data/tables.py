"""Turn tables into samples: numbers standardised, categories one-hot, by what the training rows show."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from sglr.core.data import Dataset, Samples
from sglr.core.errors import UsageError
from sglr.data.classes import refuse_unknown

if TYPE_CHECKING:
    from pandas import DataFrame

Block = NDArray[np.float64]  # [N, features]
MAX_CATEGORIES = 100  # a column of more distinct words is rather a name than a category


def check_table(frame: DataFrame, label: str, groups: Sequence[str], source: str, classes: Sequence[str] = ()) -> None:
    """Check that a table can be learnt from.

    Parameters
    ----------
    frame
        All its rows.
    label
        The column that holds the classes.
    groups
        Columns kept aside for partitioning.
    source
        The file or place that it comes from, for messages.
    classes
        The classes that there may be, of which some may be missing; none for any, two or more.

    Raises
    ------
    UsageError
        If a column is missing or has missing or infinite values, or the classes are wrong.
    """
    names = [str(name) for name in frame.columns]
    for field, column in [("label_column", label), *(("group_columns", group) for group in groups)]:
        if column not in names:
            nearest = get_close_matches(column, names, n=1, cutoff=0.4)
            hint = f"did you mean {nearest[0]!r}? " if nearest else ""
            raise UsageError(field, column, f"no such column in {source}", f"{hint}columns: {', '.join(names)}")
    for column in names:
        _check_values(frame[column], column, source)
    if classes:
        refuse_unknown(_texts(frame[label]), classes, f"the column {label!r} of {source}")
    elif frame[label].nunique() < 2:
        problem = f"{source} has {frame[label].nunique()} class in this column, and learning needs two"
        raise UsageError("label_column", label, problem, "name the column that holds the classes")


def table_dataset(
    name: str,
    train: DataFrame,
    test: DataFrame,
    label: str,
    groups: Sequence[str],
    classes: Sequence[str] = (),
) -> Dataset:
    """Make a data set of checked tables; see `check_table` for the parameters.

    Inputs are float32 vectors ``[N, features]``. A category that only test rows have is all zeros.

    Raises
    ------
    UsageError
        If a column can be no feature, or none is left.
    """
    import pandas as pd

    numeric = pd.api.types.is_numeric_dtype(train[label]) and not classes
    labels = [part[label] if numeric else _texts(part[label]) for part in (train, test)]
    names = list(classes) or sorted(pd.concat(labels).unique().tolist())
    numbers = {value: number for number, value in enumerate(names)}
    features = [column for column in train.columns if column not in (label, *groups)]
    blocks = [_encode(train[column], test[column]) for column in features]
    if not blocks:
        raise UsageError("group_columns", ", ".join(groups), "no column is left as a feature", "keep some out of it")
    parts = []
    for position, frame in enumerate((train, test)):
        inputs = np.concatenate([block[position] for block in blocks], axis=1).astype(np.float32)
        targets = labels[position].map(numbers).to_numpy(np.int64, copy=True)
        columns = {group: frame[group].to_numpy(dtype=object) for group in groups}
        parts.append(Samples(torch.from_numpy(inputs), torch.from_numpy(targets), columns))
    return Dataset(name, parts[0], parts[1], tuple(str(value) for value in names))


def _texts(column: Any) -> Any:
    """Return labels as texts; whole numbers without a point, however they are stored."""
    import pandas as pd

    if pd.api.types.is_float_dtype(column) and bool((column % 1 == 0).all()):
        column = column.astype("int64")
    return column.astype(str)


def _check_values(column: Any, name: str, source: str) -> None:
    import pandas as pd

    missing = int(column.isna().sum())
    if missing:
        problem = f"{source} has {missing} row(s) without a value in this column"
        raise UsageError("column", name, problem, "fill them in, or remove the rows or the column")
    if pd.api.types.is_numeric_dtype(column):
        infinite = int(np.isinf(column.to_numpy(dtype=np.float64)).sum())
        if infinite:
            problem = f"{source} has {infinite} row(s) with an infinite value in this column"
            raise UsageError("column", name, problem, "correct them, or remove the rows or the column")


def _encode(train: Any, test: Any) -> tuple[Block, Block]:
    import pandas as pd

    kind = pd.api.types
    if kind.is_numeric_dtype(train):
        return _standardise(train.to_numpy(dtype=np.float64), test.to_numpy(dtype=np.float64))
    words = kind.is_string_dtype(train) or kind.is_object_dtype(train)
    if not (words or isinstance(train.dtype, pd.CategoricalDtype)):
        remedy = "turn it into numbers, or keep it out with group_columns"
        raise UsageError("column", train.name, f"values of type {train.dtype} can be no feature", remedy)
    return _one_hot(train, test)


def _standardise(train: Block, test: Block) -> tuple[Block, Block]:
    mean, deviation = train.mean(), train.std()
    # A constant column carries nothing, and must not divide by zero.
    scale = deviation if deviation > 0 else 1.0
    return (train[:, None] - mean) / scale, (test[:, None] - mean) / scale


def _one_hot(train: Any, test: Any) -> tuple[Block, Block]:
    categories = np.unique(train.astype(str).to_numpy(dtype=object))
    if len(categories) > MAX_CATEGORIES:
        problem = f"{len(categories)} distinct words are rather names than categories"
        raise UsageError("column", train.name, problem, "remove it, or keep it out with group_columns")
    own, held = (part.astype(str).to_numpy(dtype=object)[:, None] == categories for part in (train, test))
    return own.astype(np.float64), held.astype(np.float64)
