"""Encode the columns of a table as inputs by a schema, and derive the schema's columns from training rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sglr.core.errors import UsageError
from sglr.data.tables.column_kinds import (
    Held,
    Notation,
    check_categories,
    check_numbers,
    holds_numbers,
    is_missing,
    refuse_numbers_as_texts,
    texts_of,
    values_of,
)
from sglr.data.tables.schema import Column, Missing, refuse_unknown_values

Values = Mapping[str, Held]


def find_values(column: Any, category: bool, notation: Notation, source: str) -> Held:
    """Return a column's values as numbers, or as texts if they are categories.

    Parameters
    ----------
    column
        A pandas series.
    category
        Whether to read the values as categories in any case.
    notation
        How numbers are formatted in text.
    source
        Where it comes from, for messages.

    Raises
    ------
    UsageError
        If it can't be a feature.
    """
    name = str(column.name)
    values: Held = texts_of(column, source) if category else values_of(column, notation, source)
    if holds_numbers(values):
        check_numbers(values, name, source)
    elif not category:
        check_categories(values, name, notation, source)
    return values


def read_values(column: Any, told: Column, notation: Notation, source: str) -> Held:
    """Return a column's values as the schema requires.

    Raises
    ------
    UsageError
        If they have another type, or a category is not in the schema.
    """
    if told.type == "category":
        texts = texts_of(column, source)
        present = sorted({text for text in texts if text is not None})
        refuse_unknown_values(present, told.categories, "category", told.name, source)
        return texts
    values = values_of(column, notation, source)
    if not holds_numbers(values):
        refuse_numbers_as_texts([text for text in values if text is not None], told.name, notation, source, force=True)
    check_numbers(values, told.name, source)
    return values


def make_column(name: str, values: Held, train: NDArray[np.bool_], missing: Missing, source: str) -> Column:
    """Derive a schema's column from values.

    Parameters
    ----------
    name
        Its name.
    values
        Its values in all rows.
    train
        The training rows, which give the mean and the std.
    missing
        How to treat missing values. An indicator input is added only if training rows have missing values.
    source
        Where it comes from, for messages.
    """
    gaps = is_missing(values)
    if missing == "indicator" and not gaps[train].any():
        missing = "mean"
    if not holds_numbers(values):
        return Column(name=name, type="category", categories=tuple(sorted(set(values[~gaps]))), missing=missing)
    known = values[train & ~gaps]
    if not len(known):
        problem = f"{source} has no values in the training rows of this column"
        raise UsageError("column", name, problem, f"fill it in, or give --leave-out {name!r}")
    # A constant column carries no information and must not divide by zero.
    std = float(known.std()) or 1.0
    return Column(name=name, type="number", mean=float(known.mean()), std=std, missing=missing)


def encode(values: Values, columns: tuple[Column, ...]) -> NDArray[np.float32]:
    """Return inputs ``[N, features]``: numbers standardised, an input of 0 or 1 for each category.

    Parameters
    ----------
    values
        The columns' values by name, already checked against the schema.
    columns
        The schema's columns, in the order of the inputs.
    """
    blocks = [block for column in columns for block in _blocks(values[column.name], column)]
    return np.concatenate(blocks, axis=1).astype(np.float32)


def _blocks(values: Held, column: Column) -> list[NDArray[np.float64]]:
    gaps = is_missing(values)
    if column.type == "number":
        block = np.where(gaps, 0.0, (values.astype(np.float64) - column.mean) / column.std)[:, None]
    else:
        block = (values[:, None] == np.array(column.categories, dtype=object)).astype(np.float64)
    return [block, gaps[:, None].astype(np.float64)] if column.missing == "indicator" else [block]
