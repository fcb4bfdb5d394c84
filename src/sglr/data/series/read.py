"""Read time series: a file for each, in a folder of its class, or one long table with an id for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sglr.core.errors import UsageError, listed, unknown
from sglr.data.class_folders import FileKind, SampleFile, find_files
from sglr.data.file_samples import OnBad, Rows, read_files
from sglr.data.series.times import sortable
from sglr.data.split import stratified_split
from sglr.data.tables.class_labels import find_classes
from sglr.data.tables.column_kinds import Notation, holds_numbers, texts_of, values_of
from sglr.data.tables.files import ENDINGS, Format, read_table
from sglr.data.tables.find_columns import find_label_column

if TYPE_CHECKING:
    from pandas import DataFrame

Steps = NDArray[np.float64]  # [T, channels], NaN where a value is missing

SERIES = FileKind("series", (".npy", *ENDINGS))
"""Files of one series each."""

SHOWN = 12


@dataclass(frozen=True)
class SeriesReading:
    """How series are found and divided; the parameters of ``series:`` explain it."""

    classes: Sequence[str]
    channels: Sequence[str]
    time_column: str
    id_column: str
    label_column: str
    group: str
    group_columns: Sequence[str]
    form: Format
    notation: Notation
    on_bad: OnBad
    fraction: float
    seed: int


@dataclass(frozen=True)
class SeriesSet:
    """Series as they are stored.

    Parameters
    ----------
    values
        ``[T, channels]`` each, with NaN for missing values.
    names
        Where each comes from, for messages.
    channels
        Names of the channels.
    labels
        The class of each ``[N]``.
    classes
        Their names.
    rows
        Rows for training, validation (or None) and testing.
    columns, notes
        As in `sglr.core.data.Samples` and `sglr.core.data.Dataset`.
    """

    values: list[Steps]
    names: list[str]
    channels: tuple[str, ...]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    rows: tuple[Rows, Rows | None, Rows]
    columns: Mapping[str, NDArray[np.object_]] = field(default_factory=dict)
    notes: Sequence[str] = ()


def read_series(path: Path, reading: SeriesReading) -> SeriesSet:
    """Read series from a folder or a long table.

    Raises
    ------
    UsageError
        If there are none, one can't be read, channels differ, or what the parameters name is not there.
    """
    return _of_folder(path, reading) if path.is_dir() else _of_table(path, reading)


def _of_folder(root: Path, reading: SeriesReading) -> SeriesSet:
    found = find_files(root, SERIES, reading.classes)
    reader = FileReader(reading)
    read = read_files(found, reader.read, reading.on_bad)
    return SeriesSet(
        read.values,
        [file.name for file in read.files],
        reader.channels,
        read.labels,
        tuple(found.classes),
        read.divided(reading.fraction, reading.seed, reading.group),
        read.columns,
        read.notes,
    )


class FileReader:
    """Reads files of one series each; the first one, or the schema, says which channels there are."""

    def __init__(self, reading: SeriesReading) -> None:
        self._reading = reading
        self.channels = tuple(reading.channels)

    def read(self, file: SampleFile) -> Steps:
        """Return the steps of a file ``[T, channels]``; any error says that it can't be read, and why."""
        steps, names = _array(file.file) if file.file.suffix.lower() == ".npy" else self._table(file.file)
        if not len(steps):
            raise ValueError("it has no steps")
        self.channels = self.channels or names
        if names != self.channels:
            found = f"has the channels {listed(names, SHOWN)}, others {listed(self.channels, SHOWN)}"
            raise UsageError("file", file.file, found, "give all series the same, or name them with --value-columns")
        return steps

    def _table(self, path: Path) -> tuple[Steps, tuple[str, ...]]:
        reading = self._reading
        frame = _ordered(read_table(path, reading.form)[0], reading, path)
        # A schema's channels, or those that the user names, may be among others and in another order.
        names = tuple(reading.channels) or tuple(
            name for name in map(str, frame.columns) if name != reading.time_column
        )
        return _numbers(frame, names, reading, path), names


def _array(path: Path) -> tuple[Steps, tuple[str, ...]]:
    values = np.load(path, allow_pickle=False)
    if values.dtype.kind not in "iufb" or values.ndim not in (1, 2):
        raise ValueError(f"it is {values.dtype} of shape {list(values.shape)}, not numbers [T] or [T, channels]")
    steps = values.reshape(len(values), -1).astype(np.float64)
    return steps, tuple(f"channel_{number + 1}" for number in range(steps.shape[1]))


class LongTable(NamedTuple):
    """The series of one table."""

    values: list[Steps]
    names: list[str]
    channels: tuple[str, ...]
    columns: dict[str, NDArray[np.object_]]
    """One text of each series, by column."""


def _of_table(path: Path, reading: SeriesReading) -> SeriesSet:
    frame, notes = read_table(path, reading.form)
    aside = list(dict.fromkeys([*reading.group_columns, *filter(None, [reading.group])]))
    label = find_label_column(list(map(str, frame.columns)), reading.label_column, str(path))
    read = long_table(frame, reading, [label, *aside], path)
    told = read.columns
    found = find_classes(_series_of(told.pop(label), label), reading.classes, (), Notation(), str(path))
    groups = told[reading.group] if reading.group else None
    train, test = stratified_split(found.values, reading.fraction, reading.seed, groups)
    return SeriesSet(
        read.values,
        read.names,
        read.channels,
        found.values,
        tuple(found.label.classes),
        (train, None, test),
        told,
        notes,
    )


def long_table(frame: DataFrame, reading: SeriesReading, beside: Sequence[str], path: Path) -> LongTable:
    """Return the series of a table whose rows are steps, and a text of each from each column ``beside``.

    Raises
    ------
    UsageError
        If a column is missing, a step has no id or no number, or a column changes within a series.
    """
    names = list(map(str, frame.columns))
    if not reading.id_column:
        problem = f"which column of {path} says what rows belong to one series is not known"
        raise UsageError("id_column", "(none)", problem, f"name one of {listed(names, SHOWN)}")
    for column in (reading.id_column, *beside):
        if column not in names:
            raise unknown("id_column" if column == reading.id_column else "group", column, names)
    taken = {reading.id_column, reading.time_column, *beside}
    channels = tuple(reading.channels) or tuple(name for name in names if name not in taken)
    frame = _ordered(frame, reading, path)
    ids = _complete(frame, reading.id_column, path)
    _, first, owner = np.unique(ids.astype(str), return_index=True, return_inverse=True)
    numbers = _numbers(frame, channels, reading, path)
    places = [np.flatnonzero(owner == number) for number in range(len(first))]
    told = {name: _one_each(_complete(frame, name, path), owner, first, ids, name) for name in beside}
    called = [f"{reading.id_column} {ids[row]}" for row in first]
    return LongTable([numbers[rows] for rows in places], called, channels, told)


def _ordered(frame: DataFrame, reading: SeriesReading, path: Path) -> DataFrame:
    """Return the rows in the order of the time column, if there is one."""
    name = reading.time_column
    if not name:
        return frame
    if name not in frame.columns:
        raise unknown("time_column", name, list(map(str, frame.columns)))
    times = frame[name]
    if times.isna().any():
        problem = f"{path} has rows without a time, the first is row {int(times.isna().to_numpy().argmax()) + 1}"
        raise UsageError("time_column", name, problem, "fill them in, or remove these rows")
    order = np.argsort(sortable(times, reading.notation, path), kind="stable")
    return frame.iloc[order].reset_index(drop=True)


def _numbers(frame: DataFrame, names: Sequence[str], reading: SeriesReading, path: Path) -> Steps:
    """Return the channels of a table as numbers ``[T, channels]``."""
    columns = []
    for name in names:
        if name not in frame.columns:
            raise unknown("value_columns", name, list(map(str, frame.columns)))
        values = values_of(frame[name], reading.notation, str(path)) if frame[name].notna().any() else None
        if values is not None and not holds_numbers(values):
            problem = f"{path} has texts in this column, and channels are numbers"
            raise UsageError("value_columns", name, problem, "name the columns of numbers with --value-columns")
        columns.append(np.full(len(frame), np.nan) if values is None else values)
    if not columns:
        raise UsageError("value_columns", "(none)", f"{path} has no column left as a channel", "name such columns")
    return np.stack(columns, axis=1).astype(np.float64)


def _complete(frame: DataFrame, name: str, path: Path) -> NDArray[np.object_]:
    """Return the texts of a column that has no gaps."""
    texts = texts_of(frame[name], str(path))
    gaps = np.array([text is None for text in texts])
    if gaps.any():
        problem = (
            f"{path} has {int(gaps.sum())} row(s) without a value in this column, the first is row {gaps.argmax() + 1}"
        )
        raise UsageError("column", name, problem, "fill them in, or remove these rows")
    return np.asarray(texts, dtype=object)


def _one_each(
    values: NDArray[np.object_], owner: Rows, first: Rows, ids: NDArray[np.object_], name: str
) -> NDArray[np.object_]:
    """Return the value of each series; refuse one that changes within a series."""
    wrong = values != values[first][owner]
    if wrong.any():
        row = int(wrong.argmax())
        problem = f"the series {ids[row]} has {values[first][owner][row]} and {values[row]} in this column"
        raise UsageError("column", name, problem, "give each series one value there")
    return np.asarray(values[first], dtype=object)


def _series_of(values: NDArray[np.object_], name: str) -> Any:
    import pandas as pd

    return pd.Series(values, name=name, dtype=object)
