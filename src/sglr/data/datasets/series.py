"""Time series of your own: series:PATH names a folder with a subfolder per class, or a table with an id per series."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

import torch

from sglr.core.data import Dataset
from sglr.core.errors import UsageError
from sglr.data.described import Described
from sglr.data.file_samples import OnBad, Rows
from sglr.data.formats.files import resolve
from sglr.data.new_samples import NewSamples, TrainedOn
from sglr.data.series.fit import common_length, complete_rows, fit_notes, fitted, measured
from sglr.data.series.new_series import new_series
from sglr.data.series.read import SeriesReading, SeriesSet, read_series
from sglr.data.series.schema import SeriesSchema
from sglr.data.tables.column_kinds import Notation
from sglr.data.tables.files import Format
from sglr.system.extras import require
from sglr.system.machine import refuse_beyond_memory

__all__ = ["Series"]


@dataclass(frozen=True)
class Series(Described):
    """Series of one length, channels standardised by the training part."""

    length: int | None = field(
        default=None,
        metadata={
            "help": "length of a sequence; default: all have one; longer series are cut, shorter ones padded",
            "by_run": True,
            "since": "0.2.0",
        },
    )
    id_column: str = field(
        default="", metadata={"help": "in one table: the column that says which rows are one series", "since": "0.2.0"}
    )
    time_column: str = field(
        default="",
        metadata={"help": "the column that rows are ordered by; default: as they stand", "since": "0.2.0"},
    )
    value_columns: tuple[str, ...] = field(
        default=(), metadata={"help": "the channels; default: all other columns", "by_run": True, "since": "0.2.0"}
    )
    label_column: str = field(default="", metadata={"help": "the column that holds the classes; default: label"})
    group_columns: tuple[str, ...] = field(
        default=(), metadata={"help": "columns kept for partition natural, not used as features"}
    )
    missing: Literal["error", "drop", "mean", "indicator"] = field(
        default="error",
        metadata={
            "help": "missing values: an error; drop the series; or use the channel's mean",
            "by_run": True,
            "since": "0.2.0",
        },
    )
    na: tuple[str, ...] = field(
        default=(), metadata={"help": "words that mean a missing value, besides an empty cell", "since": "0.2.0"}
    )
    separator: str = field(
        default="", metadata={"help": "character between values, such as ; or tab; default: detected", "since": "0.2.0"}
    )
    decimal: str = field(default=".", metadata={"help": "decimal sign", "since": "0.2.0"})
    encoding: str = field(
        default="utf-8", metadata={"help": "encoding of the file's text, such as latin-1", "since": "0.2.0"}
    )
    header: bool = field(
        default=True,
        metadata={"help": "the first line names the columns; otherwise they are named column_1 …", "since": "0.2.0"},
    )
    on_bad: OnBad = field(default="error", metadata={"help": "what to do with unreadable files", "since": "0.2.0"})

    schema_type: ClassVar[type[SeriesSchema]] = SeriesSchema

    def load(self, data_dir: Path | None) -> Dataset:
        """Read the series, hold out some for testing, and make them alike.

        Raises
        ------
        UsageError
            If a series can't be read, has other channels, or lacks a value, or they differ in length.
        """
        require("data", "dataset", "series", "pandas")
        path, agreed = resolve("series", self.path, data_dir), self.agreed(SeriesSchema)
        if self.missing == "indicator":
            raise UsageError("missing", self.missing, "series have no inputs that mark gaps", "give drop or mean")
        found = read_series(path, self._reading(agreed))
        missing = self.missing if agreed is None else agreed.missing
        kept = complete_rows(found, missing)
        rows = tuple(None if part is None else part[kept[part]] for part in found.rows)
        schema = agreed or self._measured(found, rows[0], missing)
        _check_room(len(found.values), schema)
        samples = torch.from_numpy(fitted(found.values, schema)), torch.from_numpy(found.labels)
        notes = [*found.notes, *fit_notes(found, kept, schema)]
        return self.dataset(schema, samples, _three(rows), found.columns, notes)

    def read_new(self, trained: TrainedOn) -> NewSamples:
        """Read series by the schema of the training; classes need not be known.

        Raises
        ------
        UsageError
            If there are none, one can't be read, or channels or values are missing.
        """
        schema = SeriesSchema.from_json(trained.encoding)
        return new_series(resolve("series", self.path, None), self._reading(schema), schema)

    def _measured(self, found: SeriesSet, train: Rows | None, missing: str) -> SeriesSchema:
        assert train is not None, "there is always a training part"
        length = common_length(found, self.length)
        if length < 1:
            raise UsageError("length", length, "a series needs a step", "give 1 or more")
        if not len(train):
            raise UsageError("missing", missing, "no complete series is left to train on", "give --missing mean")
        channels = measured([found.values[row] for row in train], found.channels, length)
        return self.stated(SeriesSchema, classes=found.classes, length=length, channels=channels)

    def _reading(self, agreed: SeriesSchema | None) -> SeriesReading:
        if agreed is not None and self.value_columns not in ((), agreed.names):
            shown = ",".join(self.value_columns)
            raise UsageError("value_columns", shown, "the schema decides this", "leave it out, or edit the schema")
        return SeriesReading(
            classes=self.classes if agreed is None else agreed.classes,
            channels=self.value_columns if agreed is None else agreed.names,
            time_column=self.time_column,
            id_column=self.id_column,
            label_column=self.label_column,
            group=self.group,
            group_columns=self.group_columns,
            form=Format(self.separator, self.encoding, self.header, na=self.na),
            notation=Notation(self.decimal, ""),
            on_bad=self.on_bad,
            fraction=self.test_fraction,
            seed=self.split_seed,
        )


def _check_room(count: int, schema: SeriesSchema) -> None:
    """Raise UsageError, before inputs are made, if they don't fit into memory."""
    channels, length = schema.input_shape
    what = f"{count} series of {length} steps with {channels} channels"
    refuse_beyond_memory(count * channels * length * 8, "length", length, what, "give a smaller length")


def _three(rows: tuple[Rows | None, ...]) -> tuple[Rows, Rows | None, Rows]:
    train, apart, test = rows
    assert train is not None and test is not None, "only validation may be missing"
    return train, apart, test
