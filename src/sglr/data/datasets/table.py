"""A table of your own: table:PATH names a CSV or Parquet file with a column of classes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from sglr.core.data import Dataset
from sglr.core.errors import UsageError
from sglr.data.files import resolve
from sglr.data.split import stratified_split
from sglr.data.tables import check_table, table_dataset

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = ["Table"]

READERS = {".csv": "read_csv", ".parquet": "read_parquet", ".pq": "read_parquet"}


@dataclass(frozen=True)
class Table:
    """Rows of a file as samples: numbers standardised, words one-hot encoded."""

    path: str = field(default="", metadata={"help": "the .csv or .parquet file"})
    label_column: str = field(default="label", metadata={"help": "the column that holds the classes"})
    group_columns: tuple[str, ...] = field(
        default=(), metadata={"help": "columns that are no features, kept for partition natural"}
    )
    classes: tuple[str, ...] = field(
        default=(), metadata={"help": "the classes in their order; default all there are, sorted"}
    )
    test_fraction: float = field(default=0.2, metadata={"help": "part of the rows held apart for the test"})
    split_seed: int = field(default=0, metadata={"help": "seed of the draw of the test rows"})

    def load(self, data_dir: Path | None) -> Dataset:
        """Read and check the file, hold test rows apart, encode the columns.

        Raises
        ------
        UsageError
            If the file cannot be read or learnt from, or has a class that is none of those that are given.
        """
        path = resolve("table", self.path, data_dir)
        frame = _read(path)
        check_table(frame, self.label_column, self.group_columns, str(path), self.classes)
        labels = frame[self.label_column].astype(str).to_numpy(dtype=object).astype(str)
        train, test = stratified_split(labels, self.test_fraction, self.split_seed)
        name = f"table:{self.path}"
        parts = frame.iloc[train], frame.iloc[test]
        return table_dataset(name, *parts, self.label_column, self.group_columns, self.classes)


def _read(path: Path) -> DataFrame:
    import pandas as pd

    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise UsageError("table", path, "neither a .csv nor a .parquet file", "give one of these")
    try:
        frame: DataFrame = getattr(pd, reader)(path)
    except (ValueError, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise UsageError("table", path, f"cannot be read as {path.suffix} ({reason})", "check the file") from error
    if frame.empty:
        raise UsageError("table", path, "has no rows", "give a file with some")
    return frame
