"""Read tables given as DataFrames, from one owner or several."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from sglr.core.data import Dataset, Samples
from sglr.core.errors import UsageError, unknown
from sglr.data.objects.options import Options
from sglr.data.objects.owners import owner_names
from sglr.data.split import stratified_split
from sglr.data.tables.dataset import table_dataset
from sglr.data.tables.find_columns import find_label_column, label_columns

if TYPE_CHECKING:
    from pandas import DataFrame

PART = "part of the data set"  # a temporary column, while all tables are encoded together


@dataclass(frozen=True)
class TablePart:
    """A table with the names of its columns of targets."""

    table: DataFrame
    labels: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.table)

    def divided(self, options: Options) -> tuple[TablePart, TablePart]:
        """Return the rows for training and those for testing, each class in proportion and groups whole."""
        if options.group and options.group not in self.table.columns:
            raise unknown("group", options.group, self.table.columns)
        groups = self.table[options.group].to_numpy(dtype=object) if options.group else None
        columns = [self.table[label].astype(str).to_numpy(dtype=object).astype(str) for label in self.labels]
        one_class = len(columns) == 1 and options.label_kind != "numbers"
        labels = columns[0] if one_class else np.zeros((len(self.table), 2))
        rows = stratified_split(labels, options.test_fraction, options.split_seed, groups)
        own, held = (TablePart(self.table.iloc[each], self.labels) for each in rows)
        return own, held


def is_frame(given: object) -> bool:
    """Return whether ``given`` is a pandas DataFrame, without importing pandas."""
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(given, pandas.DataFrame)


def labelled(table: DataFrame, label: str, labels: Any = None) -> TablePart:
    """Find the columns of targets in a table, or add ``labels`` ``[N]`` or ``[N, L]`` as such columns.

    Raises
    ------
    UsageError
        If there are no such columns, or labels are not one per row.
    """
    table = table.set_axis([str(name) for name in table.columns], axis=1)
    if labels is None:
        names = label_columns(label, table.columns) if label else ("",)
        return TablePart(
            table, tuple(find_label_column(list(table.columns), name, "the table", "label") for name in names)
        )
    values = np.asarray(labels)
    values = values[:, None] if values.ndim == 1 else values
    if values.ndim != 2 or len(values) != len(table) or not values.shape[1]:
        problem = f"there are {len(table)} rows"
        raise UsageError("targets", f"shape {list(np.shape(labels))}", problem, "give one label for each")
    names = _names(label, labels, values.shape[1])
    for name in names:
        if name in table.columns:
            problem = "the table already has a column of this name"
            raise UsageError("label", name, problem, "give the labels another name: label=...")
    return TablePart(table.assign(**dict(zip(names, values.T, strict=True))), names)


def _names(label: str, labels: Any, count: int) -> tuple[str, ...]:
    """Return names for columns of labels: those given, else their own, else ``label``, numbered if several."""
    if label:
        names = (label,) if count == 1 else label_columns(label, ())
        if len(names) != count:
            raise UsageError("label", label, f"the labels have {count} columns", "give a name for each, as a,b,c")
        return names
    if hasattr(labels, "columns"):
        return tuple(map(str, labels.columns))
    own = str(getattr(labels, "name", None) or "label")
    return (own,) if count == 1 else tuple(f"label_{number + 1}" for number in range(count))


def frames_dataset(
    name: str, owners: Sequence[Mapping[str, TablePart]], owner_column: str | None, options: Options
) -> Dataset:
    """Make a data set of tables: the rows of all owners are encoded alike.

    Parameters
    ----------
    name
        The data set's name.
    owners
        The parts ``train``, ``test`` and ``validation`` of every owner. Where ``train`` is the only part of all, a test
        part is drawn from it.
    owner_column
        The column to add with the owner of each row; None for a single owner.
    options
        How they are read.

    Raises
    ------
    UsageError
        If the tables have different columns, or can't be used for training.
    """
    _refuse_unlike(owners)
    labels = owners[0]["train"].labels
    parts = [part for part in ("train", "test", "validation") if any(part in parts for parts in owners)]
    tables = [_pooled(part, owners, owner_column) for part in parts]
    whole = _joined(tables).assign(**{PART: np.repeat(np.array(parts, dtype=object), [len(each) for each in tables])})
    kept = (*options.group_columns, *([owner_column] if owner_column else ()), PART)
    reading = options.of_table(labels, kept)
    held = whole[PART].to_numpy() != "train" if "test" in parts else None
    return _by_part(table_dataset(name, whole, reading, "the table", held))


def _by_part(dataset: Dataset) -> Dataset:
    """Separate the validation samples from the held-out ones, and drop the column of parts."""
    is_test = dataset.test.columns[PART] != "validation"
    validation = _without_part(dataset.test, ~is_test) if not is_test.all() else None
    train = _without_part(dataset.train, np.ones(len(dataset.train), dtype=bool))
    encoding = dict(dataset.encoding) | {"leave_out": [name for name in dataset.encoding["leave_out"] if name != PART]}
    test = _without_part(dataset.test, is_test)
    return replace(dataset, train=train, test=test, validation=validation, encoding=encoding)


def _without_part(samples: Samples, rows: NDArray[np.bool_]) -> Samples:
    chosen = samples if rows.all() else samples.select(torch.from_numpy(np.flatnonzero(rows)))
    columns = {name: values for name, values in chosen.columns.items() if name != PART}
    return Samples(chosen.inputs, chosen.targets, columns)


def _refuse_unlike(owners: Sequence[Mapping[str, TablePart]]) -> None:
    first = owners[0]["train"]
    for number, parts in enumerate(owners):
        for part, frame in parts.items():
            differing = sorted({*frame.table.columns} ^ {*first.table.columns})
            if differing or frame.labels != first.labels:
                where = f"dataset[{number}]" if len(owners) > 1 else "dataset"
                shown = ", ".join(differing or frame.labels)
                problem = f"the columns of {part} differ from those of the first table"
                raise UsageError(where, shown, problem, "give all tables the same columns")


def _pooled(part: str, owners: Sequence[Mapping[str, TablePart]], owner_column: str | None) -> DataFrame:
    tables = [parts[part].table if part in parts else parts["train"].table.iloc[:0] for parts in owners]
    if owner_column is None:
        return tables[0]
    if owner_column in tables[0].columns:
        problem = "this column name is reserved for the client of each row"
        raise UsageError("column", owner_column, problem, "rename it, or give one table with partition='natural'")
    return _joined(tables).assign(**{owner_column: owner_names([len(table) for table in tables])})


def _joined(tables: Sequence[DataFrame]) -> DataFrame:
    import pandas as pd

    return pd.concat(tables, ignore_index=True)
