"""Read tables from files: CSV and similar text files, or Parquet."""

from __future__ import annotations

import csv
import gzip
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from sglr.core.errors import UsageError
from sglr.system.extras import require

if TYPE_CHECKING:
    from pandas import DataFrame

Found = TypeVar("Found")

PARQUET = (".parquet", ".pq")
TEXT = (".csv", ".tsv", ".txt", ".data")
ENDINGS = (*TEXT, *(f"{ending}.gz" for ending in TEXT), *PARQUET)
SEPARATORS = (",", ";", "\t", "|")
NAMED = {"comma": ",", "semicolon": ";", "tab": "\t", "\\t": "\t", "space": " ", "pipe": "|"}
SNIFFED = 50  # lines used to detect the separator


@dataclass(frozen=True)
class Format:
    """The format of a text file with a table.

    Parameters
    ----------
    separator
        The character between values, or its name such as ``"tab"``; empty to detect it.
    encoding
        The encoding of the text.
    header
        Whether the first line names the columns; otherwise they are named ``column_1``, ``column_2`` …
    skip_rows
        Number of lines to skip before the table.
    na
        Words that mean a missing value, besides an empty cell.
    """

    separator: str = ""
    encoding: str = "utf-8"
    header: bool = True
    skip_rows: int = 0
    na: tuple[str, ...] = ()


def is_table(path: Path) -> bool:
    """Return whether a file's name has the ending of a table."""
    return path.name.lower().endswith(ENDINGS)


def read_table(path: Path, form: Format) -> tuple[DataFrame, list[str]]:
    """Read a table.

    Parameters
    ----------
    path
        The file.
    form
        Its format.

    Returns
    -------
    The rows, with stripped column names; values of text files are stripped texts, missing ones are NA. And
    notes for the user.

    Raises
    ------
    UsageError
        If the file cannot be read or has no rows.
    """
    if not path.is_file() or not is_table(path):
        raise UsageError("table", path, "not a file name of a table", f"give a file that ends in {' '.join(ENDINGS)}")
    parquet = path.name.lower().endswith(PARQUET)
    require("data", "table", path, "pandas", *(("pyarrow",) if parquet else ()))
    if form.skip_rows < 0:
        raise UsageError("skip_rows", form.skip_rows, "negative number of lines", "give 0 or more")
    frame = _parquet(path, form) if parquet else _text(path, form)
    if frame.empty:
        raise UsageError("table", path, "has no rows", "give a file with rows")
    names = [str(name).strip() for name in frame.columns]
    notes = [f"column {place + 1} has no name and is left out" for place, name in enumerate(names) if not name]
    return frame.set_axis(names, axis=1).loc[:, [bool(name) for name in names]], notes


def _parquet(path: Path, form: Format) -> DataFrame:
    import pandas as pd

    return _guarded(path, form, lambda: pd.read_parquet(path))


def _text(path: Path, form: Format) -> DataFrame:
    import pandas as pd

    separator, quote = _separator(path, form)

    def read() -> DataFrame:
        return pd.read_csv(
            path,
            sep=separator,
            quotechar=quote,
            encoding=_encoding(form),
            header=None,
            skiprows=form.skip_rows,
            dtype=str,
            keep_default_na=False,
            na_values=["", *form.na],
            skipinitialspace=True,
            low_memory=False,
        )

    frame = _guarded(path, form, read)
    frame = frame.apply(lambda column: column.str.strip()).mask(lambda texts: texts.isin(["", *form.na]))
    if not form.header:
        return frame.set_axis([f"column_{number + 1}" for number in range(frame.shape[1])], axis=1)
    names = frame.iloc[0].fillna("").tolist()
    return frame.iloc[1:].reset_index(drop=True).set_axis(names, axis=1)


def _guarded(path: Path, form: Format, read: Callable[[], Found]) -> Found:
    parquet = path.name.lower().endswith(PARQUET)
    try:
        return read()
    except UnicodeError as error:
        raise _undecodable(path, error, form.encoding) from error
    except (ValueError, OSError, EOFError, zlib.error) as error:
        reason = str(error).partition("\n")[0].removeprefix("Error tokenizing data. C error: ")
        kind, also = ("Parquet", "") if parquet else ("text", ", or its format: --separator, --skip-rows, --no-header")
        raise UsageError("table", path, f"cannot be read as {kind} ({reason})", f"check the file{also}") from error


def _undecodable(path: Path, error: UnicodeError, encoding: str) -> UsageError:
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        wide = file.read(2) in (b"\xff\xfe", b"\xfe\xff")
    other = "utf-16" if wide else "utf-8" if encoding not in ("utf-8", "utf-8-sig") else "latin-1"
    return UsageError("encoding", encoding, f"{path} has another encoding ({error})", f"try --encoding {other}")


def _encoding(form: Format) -> str:
    try:
        "".encode(form.encoding)
    except LookupError as error:
        raise UsageError("encoding", form.encoding, "no such encoding", "give e.g. utf-8 or latin-1") from error
    # A byte-order mark, as spreadsheets write it, is not part of a name.
    return "utf-8-sig" if form.encoding.lower().replace("_", "-") in ("utf-8", "utf8") else form.encoding


def _separator(path: Path, form: Format) -> tuple[str, str]:
    """Return the separator and the quotation mark."""
    given = NAMED.get(form.separator.lower(), form.separator)
    if len(given) > 1 or given in ('"', "\n", "\r"):
        raise UsageError("separator", form.separator, "not a separator", f"give one character, or {', '.join(NAMED)}")
    lines = _guarded(path, form, lambda: _first_lines(path, form))
    separator = given or _sniffed(lines)
    first = [cell.strip() for cell in lines[0].split(separator)] if lines else []
    single = bool(first) and all(len(cell) > 1 and cell[0] == cell[-1] == "'" for cell in first)
    return separator, "'" if single else '"'


def _first_lines(path: Path, form: Format) -> list[str]:
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding=_encoding(form)) as file:
        return [line for line in islice(file, form.skip_rows, form.skip_rows + SNIFFED) if line.strip()]


def _sniffed(lines: Sequence[str]) -> str:
    """Return the separator that gives the same number of values in most lines, and the most values."""

    def regularity(separator: str) -> tuple[int, int]:
        widths = Counter(len(row) for row in csv.reader(lines, delimiter=separator, skipinitialspace=True))
        width, count = max(widths.items(), key=lambda each: (each[0] > 1, each[1]), default=(0, 0))
        return (count if width > 1 else 0), width

    return max(SEPARATORS, key=regularity)
