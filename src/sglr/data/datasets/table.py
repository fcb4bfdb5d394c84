"""A table of your own: table:PATH names a CSV, TSV or Parquet file with columns of features and of targets."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

from sglr.core.data import Dataset
from sglr.core.errors import UsageError
from sglr.data.formats.files import resolve
from sglr.data.new_samples import NewSamples, TrainedOn
from sglr.data.schema import read_schema
from sglr.data.tables.column_kinds import Notation
from sglr.data.tables.dataset import Reading, table_dataset
from sglr.data.tables.files import Format, read_table
from sglr.data.tables.find_columns import label_columns
from sglr.data.tables.labels import KINDS, LabelKind
from sglr.data.tables.new_rows import new_rows
from sglr.data.tables.schema import Schema

__all__ = ["Table"]


@dataclass(frozen=True)
class Table:
    """Rows of a file as samples: numbers are standardised, categories one-hot encoded."""

    schema_type: ClassVar[type[Schema]] = Schema

    path: str = field(
        default="", metadata={"help": "the file: .csv, .tsv, .txt, .data, also with .gz, or .parquet", "by_run": True}
    )
    schema: str | dict[str, Any] = field(
        default="",
        metadata={
            "help": "a TOML file (sglr schema) that describes the columns; default: inferred",
            "by_run": True,
            "clients": "hidden",
            "since": "0.2.0",
        },
    )
    label_column: str = field(
        default="", metadata={"help": "the column that holds the classes; or several, as a,b,c; default: label"}
    )
    label_kind: LabelKind = field(
        default="auto",
        metadata={
            "help": "what label columns hold: classes (one column), findings (0 or 1) or numbers; default: found out",
            "by_run": True,
            "since": "0.2.0",
        },
    )
    classes: tuple[str, ...] = field(
        default=(), metadata={"help": "the classes in order; default: all that occur, sorted", "by_run": True}
    )
    label_edges: tuple[float, ...] = field(
        default=(),
        metadata={"help": "thresholds that divide a numeric label into classes", "by_run": True, "since": "0.2.0"},
    )
    columns: tuple[str, ...] = field(
        default=(), metadata={"help": "the features; default: all other columns", "by_run": True, "since": "0.2.0"}
    )
    leave_out: tuple[str, ...] = field(default=(), metadata={"help": "columns to ignore", "since": "0.2.0"})
    category_columns: tuple[str, ...] = field(
        default=(),
        metadata={
            "help": "columns to read as categories although they look like numbers or names",
            "by_run": True,
            "since": "0.2.0",
        },
    )
    group: str = field(
        default="",
        metadata={
            "help": "a column, not a feature, such as patient: rows of one value stay on one side of any split",
            "since": "0.2.0",
        },
    )
    group_columns: tuple[str, ...] = field(
        default=(), metadata={"help": "columns kept for partition natural, not used as features"}
    )
    missing: Literal["error", "drop", "mean", "indicator"] = field(
        default="error",
        metadata={
            "help": "missing values: an error; drop the row; use the column's mean; or that and an extra input"
            " that marks them",
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
    thousands: str = field(default="", metadata={"help": "thousands separator", "since": "0.2.0"})
    encoding: str = field(
        default="utf-8", metadata={"help": "encoding of the file's text, such as latin-1", "since": "0.2.0"}
    )
    header: bool = field(
        default=True,
        metadata={"help": "the first line names the columns; otherwise they are named column_1 …", "since": "0.2.0"},
    )
    skip_rows: int = field(default=0, metadata={"help": "number of lines to skip before the table", "since": "0.2.0"})
    test_fraction: float = field(default=0.2, metadata={"help": "fraction of the rows held out for testing"})
    split_seed: int = field(default=0, metadata={"help": "seed for drawing the test rows"})

    def load(self, data_dir: Path | None) -> Dataset:
        """Read and check the file, hold out test rows, encode the columns.

        Raises
        ------
        UsageError
            If the file or the schema cannot be read or used for training, or they do not match.
        """
        schema = self._schema()
        notation = Notation(self.decimal, self.thousands)
        path = resolve("table", self.path, data_dir)
        form = Format(self.separator, self.encoding, self.header, self.skip_rows, self.na)
        frame, notes = read_table(path, form)
        names = ("label_kind", "classes", "label_edges", "columns", "leave_out", "category_columns", "group", "missing")
        told = {name: getattr(self, name) for name in (*names, "test_fraction", "split_seed")}
        labels = label_columns(self.label_column or "label", frame.columns)
        reading = Reading(labels, groups=self.group_columns, notation=notation, schema=schema, **told)
        dataset = table_dataset(f"table:{self.path}", frame, reading, self.path)
        return replace(dataset, notes=(*notes, *dataset.notes))

    def read_new(self, trained: TrainedOn, id_column: str = "") -> NewSamples:
        """Read rows by the schema of the training; labels need not be there.

        Parameters
        ----------
        trained
            What the network was trained on.
        id_column
            The column that names the rows; empty for their numbers.

        Raises
        ------
        UsageError
            If the file cannot be read, lacks a column, or has values that the schema does not allow.
        """
        path = resolve("table", self.path, None)
        form = Format(self.separator, self.encoding, self.header, self.skip_rows, self.na)
        frame, notes = read_table(path, form)
        schema = read_schema(dict(trained.encoding), Schema)
        return new_rows(frame, schema, Notation(self.decimal, self.thousands), self.path, id_column, notes)

    def _schema(self) -> Schema | None:
        """Return the schema, if one is given; refuse parameters that contradict it."""
        if not self.schema:
            return None
        schema = read_schema(self.schema, Schema)
        labels = schema.all_labels
        same = {
            "label_column": ",".join(label.name for label in labels),
            "label_kind": KINDS[labels[0].type],
            "classes": labels[0].classes,
            "label_edges": labels[0].edges,
        }
        unset = {"columns": (), "category_columns": (), "missing": "error", "label_kind": "auto"}
        for name, said in (unset | same).items():
            value = getattr(self, name)
            if value and value not in (said, unset.get(name)):
                shown = ",".join(map(str, value)) if isinstance(value, tuple) else value
                raise UsageError(name, shown, "the schema decides this", "leave it out, or edit the schema")
        return schema
