"""Turn tables into samples by a schema, which is given or derived from the training rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from sglr.core.data import Dataset, Samples
from sglr.core.errors import UsageError
from sglr.data.split import stratified_split
from sglr.data.tables.column_kinds import Held, Notation, is_missing, texts_of
from sglr.data.tables.encoding import Values, encode, find_values, make_column, read_values
from sglr.data.tables.labelled import Labelled
from sglr.data.tables.labels import LabelKind, find_labels, gaps_of, read_label, targets_of, with_units
from sglr.data.tables.notes import missing_words, notes_on
from sglr.data.tables.schema import Missing, Schema
from sglr.system.machine import refuse_beyond_memory

if TYPE_CHECKING:
    from pandas import DataFrame

Rows = NDArray[np.bool_]  # [N]

BYTES_OF_INPUT = 20
"""Per row and input: intermediate float64 arrays and the final float32."""


@dataclass(frozen=True)
class Reading:
    """How to read a table.

    Parameters
    ----------
    labels
        The columns of targets, one or several; with a schema, the schema's.
    label_kind
        What they hold.
    classes
        The allowed classes, of which some may not occur; empty for all that occur.
    label_edges
        Thresholds that divide a numeric label into classes; empty if the label holds classes.
    columns
        The features; empty for all columns without another role.
    leave_out
        Columns to ignore.
    category_columns
        Columns to read as categories although they look like numbers or names.
    groups
        Columns that are not features but are kept beside the samples.
    group
        A column, not a feature; rows with the same value stay on one side of a split. Empty for none.
    missing
        How to treat missing values; see `sglr.data.tables.schema.Missing`.
    notation
        How numbers are formatted in text.
    schema
        Replaces all of these but groups, notation and further columns to leave out.
    test_fraction, split_seed
        The fraction of the rows drawn for testing, and the seed of the draw.
    """

    labels: Sequence[str] = ("label",)
    label_kind: LabelKind = "auto"
    classes: Sequence[str] = ()
    label_edges: Sequence[float] = ()
    columns: Sequence[str] = ()
    leave_out: Sequence[str] = ()
    category_columns: Sequence[str] = ()
    groups: Sequence[str] = ()
    group: str = ""
    missing: Missing = "error"
    notation: Notation = field(default_factory=Notation)
    schema: Schema | None = None
    test_fraction: float = 0.2
    split_seed: int = 0

    @property
    def aside(self) -> list[str]:
        """Columns that are kept beside the samples."""
        return list(dict.fromkeys([*self.groups, *filter(None, [self.group])]))

    @property
    def targets(self) -> tuple[str, ...]:
        """The columns of targets."""
        return tuple(self.labels if self.schema is None else (label.name for label in self.schema.all_labels))

    @property
    def predicts_numbers(self) -> bool:
        """Whether targets are measurements."""
        return self.label_kind == "numbers" if self.schema is None else bool(self.schema.targets.units)

    @property
    def unlabelled(self) -> Literal["error", "drop"]:
        """How to treat rows without a label or a group: a target can't be imputed."""
        if self.schema is not None:
            return self.schema.all_labels[0].missing
        return "error" if self.missing == "error" else "drop"


def table_dataset(name: str, frame: DataFrame, reading: Reading, source: str, test: Rows | None = None) -> Dataset:
    """Make a data set of a table.

    Without a schema, one is derived: means and stds from the training rows, categories and classes from all
    rows. Inputs are float32 vectors ``[N, features]``; see `sglr.data.tables.schema` for how they are made.

    Parameters
    ----------
    name
        See `Dataset`.
    frame
        All rows of the table.
    reading
        How to read it.
    source
        The file or place that it comes from, for messages.
    test
        The rows for testing; None to draw them, each class in proportion and no group on both sides.

    Returns
    -------
    The data set; its ``encoding`` is the schema.

    Raises
    ------
    UsageError
        If a column is missing, unknown, unusable as feature or label, or has values that are not in the schema.
    """
    frame = frame.set_axis([str(column).strip() for column in frame.columns], axis=1)
    features, empty = _features(frame, reading, source)
    values, aside = (
        _values(frame, features, reading, source),
        {each: texts_of(frame[each], source) for each in reading.aside},
    )
    kept = _kept(frame, values, aside, reading, source)
    values, aside = ({each: column[kept] for each, column in part.items()} for part in (values, aside))
    labelled = _labelled(frame[kept], reading, source)
    targets = targets_of(labelled)
    test = _drawn(targets, aside, reading) if test is None else test[kept]
    schema = reading.schema or _schema(values, labelled, ~test, reading, empty, source)
    _check_room(int(kept.sum()), schema, source)
    inputs = torch.from_numpy(encode(values, schema.columns))
    own, held = (
        Samples(inputs[rows], torch.from_numpy(targets[rows]), {each: part[rows] for each, part in aside.items()})
        for rows in (~test, test)
    )
    notes = (*_left_out(empty, kept), *_notes(values, schema, reading))
    group = reading.group or None
    return Dataset(name, own, held, encoding=schema.to_json(), group=group, notes=notes, targets=schema.targets)


def _check_room(rows: int, schema: Schema, source: str) -> None:
    """Raise UsageError, before encoding, if the inputs don't fit into memory."""
    inputs = len(schema.inputs)
    most = max(schema.columns, key=lambda column: len(column.inputs))
    what = f"{rows} rows of {source} with {inputs} inputs each"
    remedy = f"leave out columns with many categories (this one has {len(most.categories)})"
    refuse_beyond_memory(rows * inputs * BYTES_OF_INPUT, "column", most.name, what, remedy)


def _features(frame: DataFrame, reading: Reading, source: str) -> tuple[list[str], list[str]]:
    """Return the feature columns, and those without any value."""
    names = list(frame.columns)
    _check_distinct(names, source)
    for setting in ("group_columns", "group"):
        for column in reading.groups if setting == "group_columns" else filter(None, [reading.group]):
            _check_there(setting, column, names, source)
    if reading.schema is not None:
        reading.schema.check_names(names, source, [*reading.leave_out, *reading.aside])
        return [column.name for column in reading.schema.columns], []
    for column in reading.labels:
        _check_there("label_column", column, names, source)
    for setting in ("columns", "leave_out", "category_columns"):
        for column in getattr(reading, setting):
            _check_there(setting, column, names, source)
    taken = {*reading.labels, *reading.leave_out, *reading.aside}
    wanted = [each for each in names if each not in taken and (not reading.columns or each in reading.columns)]
    empty = [each for each in wanted if frame[each].isna().all()]
    found = [each for each in wanted if each not in empty]
    if not found:
        problem = f"{source} has no column left as a feature"
        raise UsageError(
            "columns", ",".join(reading.columns) or "all", problem, f"leave fewer out; columns: {', '.join(names)}"
        )
    return found, empty


def _check_there(setting: str, column: str, names: Sequence[str], source: str) -> None:
    if column not in names:
        nearest = get_close_matches(column, names, n=1, cutoff=0.4)
        hint = f"did you mean {nearest[0]!r}? " if nearest else ""
        raise UsageError(setting, column, f"no such column in {source}", f"{hint}{_columns(names)}")


def _columns(names: Sequence[str]) -> str:
    """List the column names; if they look like values, add the remedy for a missing header."""
    numbers = sum(name.replace(".", "", 1).isdigit() for name in names)
    also = "; if the first line is not a header, give --no-header, and --skip-rows 1 to skip it"
    return f"columns: {', '.join(names)}{also if numbers > 1 else ''}"


def _check_distinct(names: Sequence[str], source: str) -> None:
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        problem = f"{source} has {names.count(twice[0])} columns of this name"
        raise UsageError("column", twice[0], problem, f"rename or remove the others; {_columns(names)}")


def _values(frame: DataFrame, features: Sequence[str], reading: Reading, source: str) -> Values:
    told = {} if reading.schema is None else {column.name: column for column in reading.schema.columns}
    values, errors = {}, []
    for name in features:
        try:
            if name in told:
                values[name] = read_values(frame[name], told[name], reading.notation, source)
            else:
                values[name] = find_values(frame[name], name in reading.category_columns, reading.notation, source)
        except UsageError as error:
            errors.append(error)
    if errors:
        raise _together(errors)
    return values


def _together(errors: Sequence[UsageError]) -> UsageError:
    """Return the first error with the columns of the others, so that the user can fix all at once."""
    first, *others = errors
    if not others:
        return first
    more = ", ".join(repr(error.value) for error in others)
    return UsageError(first.field, first.value, first.problem, f"{first.remedy}; also wrong: {more}")


def _labelled(frame: DataFrame, reading: Reading, source: str) -> list[Labelled]:
    columns = [frame[name] for name in reading.targets]
    if reading.schema is not None:
        told = zip(columns, reading.schema.all_labels, strict=True)
        return [read_label(column, label, reading.notation, source) for column, label in told]
    return find_labels(columns, reading.label_kind, reading.classes, reading.label_edges, reading.notation, source)


def _kept(frame: DataFrame, values: Values, aside: Values, reading: Reading, source: str) -> Rows:
    """Return the rows to keep: drop those with missing values if asked for, else refuse unexpected missing values."""
    told = {} if reading.schema is None else {column.name: column.missing for column in reading.schema.columns}
    treated = {name: told.get(name, reading.missing) for name in values}
    treated |= dict.fromkeys([*aside, *reading.targets], reading.unlabelled)
    if reading.schema is not None:
        treated |= {label.name: label.missing for label in reading.schema.all_labels}
    kept = np.ones(len(frame), dtype=bool)
    without = {name: is_missing(column) for name, column in {**values, **aside}.items()}
    without |= {name: gaps_of(frame[name], source, reading.predicts_numbers) for name in reading.targets}
    for name, gaps in without.items():
        if treated[name] == "error" and gaps.any():
            raise _gap(name, gaps, reading, source)
        if treated[name] == "drop":
            kept &= ~gaps
    if not kept.any():
        problem = f"each row of {source} has a missing value"
        raise UsageError(
            "missing", "drop", problem, "give --leave-out for columns with many missing values, or fill them in"
        )
    return kept


def _gap(name: str, gaps: Rows, reading: Reading, source: str) -> UsageError:
    problem = (
        f"{source} has {int(gaps.sum())} row(s) without a value in this column, the first is row {gaps.argmax() + 1}"
    )
    if reading.schema is not None:
        return UsageError("column", name, problem, 'fill them in, or set missing = "drop" for it in the schema')
    if name in (*reading.labels, *reading.aside):
        return UsageError("column", name, problem, "fill them in, or give --missing drop to leave these rows out")
    remedy = f"fill them in, or give --missing drop, mean or indicator, or --leave-out {name!r}"
    return UsageError("column", name, problem, remedy)


def _drawn(targets: NDArray[Any], aside: Values, reading: Reading) -> Rows:
    groups: Held | None = aside.get(reading.group)
    _, rows = stratified_split(targets, reading.test_fraction, reading.split_seed, groups)
    test = np.zeros(len(targets), dtype=bool)
    test[rows] = True
    return test


def _schema(
    values: Values, labelled: Sequence[Labelled], train: Rows, reading: Reading, empty: Sequence[str], source: str
) -> Schema:
    columns = [make_column(name, column, train, reading.missing, source) for name, column in values.items()]
    left = tuple(dict.fromkeys([*reading.leave_out, *reading.aside, *empty]))
    labels = tuple(with_units(each, train, reading.unlabelled) for each in labelled)
    one, several = (labels[0], ()) if len(labels) == 1 else (None, labels)
    return Schema(label=one, labels=several, columns=tuple(columns), leave_out=left)


def _left_out(empty: Sequence[str], kept: Rows) -> list[str]:
    gone = int((~kept).sum())
    rows = [f"{gone} of {len(kept)} rows are left out, because a value is missing"] if gone else []
    return [*(f"the column {name!r} has no values and is left out" for name in empty), *rows]


def _notes(values: Values, schema: Schema, reading: Reading) -> list[str]:
    if reading.schema is not None:
        return []
    words = {label.name: label.classes for label in schema.all_labels} | {
        column.name: column.categories for column in schema.columns
    }
    doubtful = [note for name, known in words.items() for note in missing_words(name, known)]
    return [*notes_on(values), *doubtful]
