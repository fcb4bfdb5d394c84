"""Find out whether a column of a table holds numbers or categories; refuse anything else with a remedy."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sglr.core.errors import UsageError

Numbers = NDArray[np.float64]  # [N], NaN where a value is missing
Texts = NDArray[np.object_]  # [N], None where a value is missing
Held = NDArray[Any]  # Numbers or Texts

MOST_CATEGORIES = 100  # a column with more distinct words holds names rather than categories
FEW = 20  # up to this many distinct words are categories, even in few rows
ODD_WORDS = 3  # up to this many distinct words among numbers may mean a missing value
DATE = re.compile(r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}([T ].*)?|\d{1,2}[-/.]\d{1,2}[-/.](\d{4}|\d{2})( .*)?")
WITH_UNIT = re.compile(r"([^\w\s.,+-]?)\s*[+-]?\d[\d.,' ]*\s*([^\W\d]*|%|°\w?)")
KINDS = {"decimal", "integer", "floating", "mixed-integer-float", "boolean", "empty"}
"""The names that pandas gives to columns of Python objects that are numbers."""


@dataclass(frozen=True)
class Notation:
    """How numbers are formatted in text.

    Parameters
    ----------
    decimal
        The decimal sign.
    thousands
        The thousands separator; empty for none.
    """

    decimal: str = "."
    thousands: str = ""

    def __post_init__(self) -> None:
        for name, sign in (("decimal", self.decimal), ("thousands", self.thousands)):
            if len(sign) > 1 or sign.isalnum() or (sign and sign in "+-") or (name == "decimal" and not sign):
                raise UsageError(name, sign, "not a valid sign in numbers", "give one such as . or ,")
        if self.decimal == self.thousands:
            problem = "is also the decimal sign"
            raise UsageError(
                "thousands", self.thousands, problem, "give two different signs, as --decimal , --thousands ."
            )

    def read(self, texts: Any) -> Numbers:
        """Parse a series or list of texts as numbers; NaN for a text that is not a number."""
        import pandas as pd

        column = texts if isinstance(texts, pd.Series) else pd.Series(texts, dtype="str")
        if self != PLAIN:
            point, group = re.escape(self.decimal), re.escape(self.thousands)
            whole = rf"(?:\d+|\d{{1,3}}(?:{group}\d{{3}})+)" if group else r"\d+"
            column = column.where(column.str.fullmatch(rf"[+-]?(?:{whole}(?:{point}\d*)?|{point}\d+)(?:[eE][+-]?\d+)?"))
            column = column.str.replace(self.thousands, "", regex=False) if group else column
            column = column.str.replace(self.decimal, ".", regex=False)
        numbers: Numbers = pd.to_numeric(column, errors="coerce").to_numpy(np.float64, na_value=np.nan)
        return numbers

    def fits(self, texts: Sequence[str]) -> NDArray[np.bool_]:
        """Return which texts are numbers; ``nan`` counts as a missing number."""
        fits: NDArray[np.bool_] = ~np.isnan(self.read(texts)) | np.array(
            [text.lower() == "nan" for text in texts], bool
        )
        return fits

    @property
    def unusual(self) -> dict[str, str]:
        """The signs that differ from the default, by name."""
        usual = {"decimal": ".", "thousands": ""}
        return {name: sign for name, sign in vars(self).items() if sign != usual[name]}

    def flags(self) -> str:
        """Return the notation as command-line flags."""
        return " ".join(f"--{name} {sign!r}" for name, sign in self.unusual.items())


PLAIN = Notation()
OTHERS = (
    Notation(".", ","),
    Notation(",", "."),
    Notation(","),
    Notation(",", " "),
    Notation(".", " "),
    Notation(".", "'"),
)


def holds_numbers(values: Held) -> bool:
    """Return whether the values are numbers rather than texts."""
    return values.dtype == np.float64


def is_missing(values: Held) -> NDArray[np.bool_]:
    """Return which values are missing."""
    return np.isnan(values) if holds_numbers(values) else np.array([value is None for value in values], dtype=bool)


def values_of(column: Any, notation: Notation, source: str) -> Held:
    """Return the values of a column: numbers if all are numbers, else texts.

    Parameters
    ----------
    column
        A pandas series.
    notation
        How numbers are formatted in text.
    source
        Where it comes from, for messages.

    Raises
    ------
    UsageError
        If it holds dates or objects that are neither numbers nor texts.
    """
    import pandas as pd

    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(column.cat.categories.dtype if not column.isna().any() else object)
    kind = _kind(column)
    if kind in KINDS:
        plain = pd.api.types.is_numeric_dtype(column.dtype)
        column = column if plain else column.astype(object).where(column.notna(), np.nan)
        numbers: Numbers = column.to_numpy(np.float64, na_value=np.nan)
        return numbers
    if kind != "string":
        raise _no_feature(column, kind, source)
    read = _read_numbers(column.astype("str").str.strip(), notation)
    return _stripped(column) if read is None else read


def _kind(column: Any) -> str:
    """Return the name that pandas gives to this kind of values."""
    import pandas as pd

    return "string" if isinstance(column.dtype, pd.StringDtype) else str(pd.api.types.infer_dtype(column, skipna=True))


def texts_of(column: Any, source: str) -> Texts:
    """Return the values of a column as texts; whole numbers have no decimal point, however they are stored."""
    import pandas as pd

    if pd.api.types.is_bool_dtype(column.dtype):
        column = column.astype(str)
    kind = _kind(column)
    if kind == "integer":  # float64 would round those above 2^53, such as long ids
        given = zip(column, column.isna(), strict=True)
        return np.array([None if gap else str(int(each)) for each, gap in given], dtype=object)
    if kind != "string":
        return _written(values_of(column, PLAIN, source))
    texts = _stripped(column)
    pointed = any("." in text for text in texts if text is not None)
    numbers = _read_numbers(column.astype("str").str.strip(), PLAIN) if pointed else None
    return texts if numbers is None else _written(numbers)


def _stripped(column: Any) -> Texts:
    return np.array(
        [None if text is None else text.strip() or None for text in column.astype(object).where(column.notna(), None)],
        dtype=object,
    )


def _written(values: Held) -> Texts:
    if not holds_numbers(values):
        return values
    texts = [None if np.isnan(each) else str(int(each)) if each % 1 == 0 else str(each) for each in values.tolist()]
    return np.array(texts, dtype=object)


def _read_numbers(texts: Any, notation: Notation) -> Numbers | None:
    """Parse a series of texts if all values are numbers or missing, or all are ``true`` or ``false``; else None."""
    numbers = notation.read(texts)
    odd = texts[np.isnan(numbers)].str.lower()  # few, if the column holds numbers
    words = set(odd.dropna().unique()) - {"", "nan"}
    if not words:
        return numbers
    if words <= {"true", "false"} and np.isnan(numbers).all():
        return odd.map({"true": 1.0, "false": 0.0}).to_numpy(np.float64, na_value=np.nan)  # type: ignore[no-any-return]
    return None


def check_numbers(values: Numbers, name: str, source: str) -> None:
    """Raise UsageError if a number is infinite."""
    infinite = int(np.isinf(values).sum())
    if infinite:
        problem = f"{source} has {infinite} row(s) with an infinite value in this column"
        raise UsageError("column", name, problem, f"correct them, remove the rows, or give --leave-out {name!r}")


def check_categories(values: Texts, name: str, notation: Notation, source: str) -> None:
    """Refuse texts that look like numbers, dates or names rather than categories.

    Raises
    ------
    UsageError
        If they do, with a remedy.
    """
    present = [text for text in values if text is not None]
    if sum(DATE.fullmatch(text) is not None for text in present) * 2 > len(present):
        problem = f"{source} has dates in this column, such as {present[0]!r}, which can't be features"
        remedy = f"give --leave-out {name!r}, or convert them to numbers (such as days)"
        raise UsageError("column", name, problem, remedy)
    refuse_numbers_as_texts(present, name, notation, source)
    distinct = len(set(present))
    if distinct > MOST_CATEGORIES or (distinct > FEW and distinct * 2 > len(present)):
        problem = f"{distinct} distinct words in {len(present)} rows are names rather than categories"
        remedy = f"give --leave-out {name!r}, or --category-columns {name!r} if they are categories"
        raise UsageError("column", name, problem, remedy)


def refuse_numbers_as_texts(
    present: Sequence[str], name: str, notation: Notation, source: str, force: bool = False
) -> None:
    """Refuse texts that mostly look like numbers.

    Parameters
    ----------
    present
        The texts.
    name, source
        The column and where it comes from, for messages.
    notation
        The notation that the user gives.
    force
        Refuse other texts too, because numbers are required.

    Raises
    ------
    UsageError
        If they do, with the option that reads them.
    """
    category = f"or --category-columns {name!r} if they are categories"
    odd = [text for text, fits in zip(present, notation.fits(present), strict=True) if not fits]
    if force or len(odd) * 2 < len(present):
        words = sorted(set(odd))
        problem = f"{source} has numbers in this column, but also {len(odd)} other value(s), such as {words[0]!r}"
        remedy = f"give --na {','.join(words)} if that means missing, {category}"
        if len(words) > ODD_WORDS or any("," in word for word in words):
            remedy = f"{_other(odd, notation)}correct them, {category}"
        raise UsageError("column", name, problem, remedy)
    problem = f"{source} has texts in this column that look like numbers, such as {present[0]!r}"
    other = _other(present, notation)
    if other:
        raise UsageError("column", name, problem, f"{other}{category}")
    units = {found.groups() for text in present if (found := WITH_UNIT.fullmatch(text))}
    if len(units) == 1 and all(WITH_UNIT.fullmatch(text) for text in present):
        raise UsageError("column", name, problem, f"write plain numbers without a unit, {category}")


def _other(texts: Sequence[str], notation: Notation) -> str:
    """Return the start of a remedy: the flags with which most texts would be numbers; empty if there are none."""
    if notation != PLAIN and PLAIN.fits(texts).mean() > 0.5:
        return f"write the numbers of all columns in the same notation ({notation.flags()}), "
    written = "".join(texts)
    others = [
        other for other in OTHERS if other != notation and all(sign in written for sign in other.unusual.values())
    ]
    shares = [float(other.fits(texts).mean()) for other in others]
    best = max([0.5, *shares])
    flags = [other.flags() for other, share in zip(others, shares, strict=True) if share == best > 0.5]
    return f"give {' or '.join(flags)} if numbers are written like this, " if flags else ""


def _no_feature(column: Any, kind: str, source: str) -> UsageError:
    import pandas as pd

    name = str(column.name)
    if kind.startswith(("date", "time", "period")) or pd.api.types.is_datetime64_any_dtype(column):
        problem = f"{source} has values of type {column.dtype} in this column, and dates can't be features"
        return UsageError(
            "column", name, problem, f"give --leave-out {name!r}, or convert them to numbers (such as days)"
        )
    held = sorted({type(value).__name__ for value in column.dropna()})
    problem = f"{source} has values in this column that are neither numbers nor texts ({', '.join(held)})"
    return UsageError("column", name, problem, f"give --leave-out {name!r}, or convert them to numbers or texts")
