"""What the rows of a series are ordered by: numbers, dates, or texts that sort as the times do that they name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sglr.core.errors import UsageError
from sglr.data.tables.column_kinds import Notation

DATE = r"\d{4}[-/.]\d\d(?:[-/.]\d\d)?|\d{8}"
CLOCK = r"\d\d:?\d\d(?::?\d\d(?:[.,]\d+)?)?"
ISO = re.compile(rf"(?:(?:{DATE})(?:[T ]{CLOCK})?|{CLOCK})(?P<zone>Z|[+-]\d\d:?\d\d)?")
"""Largest unit first, and zero-padded, as in ISO 8601."""

NUMBERED = re.compile(r"[^\d+-]*\d+\D*")
"""A single number in words, such as ``visit 01``."""


def sortable(times: Any, notation: Notation, path: Path) -> NDArray[Any]:
    """Return values ``[N]`` that sort as the times of a column do.

    Parameters
    ----------
    times
        A pandas series without gaps.
    notation
        How numbers are formatted in text.
    path
        Where it comes from, for messages.

    Raises
    ------
    UsageError
        If they are texts that are neither numbers, nor dates or times of one form in which texts sort by time.
    """
    values: NDArray[Any] = times.to_numpy()
    if values.dtype != object or not all(isinstance(value, str) for value in values):
        return values
    texts = [value.strip() for value in values]
    numbers = notation.read(texts)
    if not np.isnan(numbers).any():
        return numbers
    forms = [_form(text) for text in texts]
    odd = next((text for text, form in zip(texts, forms, strict=True) if form is None or form != forms[0]), None)
    if odd is None:
        return np.asarray(texts, dtype=object)
    some = f"{texts[0]!r} and {odd!r}" if odd != texts[0] else repr(odd)
    problem = f"{path} has times such as {some} there, which as texts do not sort by time"
    remedy = "write times as numbers (--decimal , if with a comma) or as YYYY-MM-DD, all in one form"
    raise UsageError("time_column", str(times.name), problem, remedy)


def _form(text: str) -> str | None:
    """Return a text's form, with 0 for each digit; texts of one form sort by time. None if that is not certain."""
    found = ISO.fullmatch(text)
    if found is None:
        return re.sub(r"\d", "0", text) if NUMBERED.fullmatch(text) else None
    zone = found["zone"] or ""
    # Fractions of a second may have any length where nothing follows them.
    local = text.removesuffix(zone) if zone else re.sub(r"\.\d+$", "", text)
    return re.sub(r"\d", "0", local) + zone
