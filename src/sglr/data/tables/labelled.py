"""A column with the label of each row, and how labels become numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sglr.core.errors import UsageError
from sglr.data.tables.column_kinds import Notation, Numbers, Texts, check_numbers, holds_numbers, values_of
from sglr.data.tables.schema import Label

UNLABELLED = -1


@dataclass(frozen=True)
class Labelled:
    """The label of each row in one column.

    Parameters
    ----------
    label
        The column and what it holds.
    values
        Class numbers ``[N]``, -1 where the label is missing; or measurements, NaN where it is.
    """

    label: Label
    values: NDArray[Any]


def numbers_of(column: Any, notation: Notation, source: str, needed: str, field: str = "column") -> Numbers:
    """Return the numbers of a column of labels, NaN where one is missing.

    Raises
    ------
    UsageError
        If it holds texts or infinite numbers; the message says what ``needed`` numbers, and names
        the setting ``field``.
    """
    values = values_of(column, notation, source)
    if not holds_numbers(values):
        odd = sorted({text for text in values if text is not None and not notation.fits([text])[0]})
        shown = f", such as {odd[0]!r}" if odd else ""
        problem = f"{source} has texts in this column{shown}, but {needed}"
        remedy = "correct them, give --na WORD if one means missing, or name another label"
        raise UsageError(field, str(column.name), problem, remedy)
    check_numbers(values, str(column.name), source)
    return values


def between(values: Numbers, edges: Sequence[float]) -> NDArray[np.int64]:
    """Return the class of each number: how many edges it reaches."""
    return np.where(np.isnan(values), UNLABELLED, np.digitize(values, edges)).astype(np.int64)


def positions(texts: Texts, classes: Sequence[str]) -> NDArray[np.int64]:
    """Return the class of each text: its position among the classes."""
    numbers = {name: number for number, name in enumerate(classes)}
    return np.array([UNLABELLED if text is None else numbers[text] for text in texts], dtype=np.int64)
