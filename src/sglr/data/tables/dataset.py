"""Turn tables into samples by a schema, which is given or derived from the training rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from sglr.core.data import Dataset, Samples
from sglr.core.errors import UsageError
from sglr.data.split import stratified_split
from sglr.data.tables.column_kinds import Held, Notation, is_missing, texts_of
from sglr.data.tables.encoding import Values, encode, find_values, make_column, read_values
from sglr.data.tables.labels import Targets, find_label, read_label
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
    label
        The column of classes; with a schema, the schema's.
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

    label: str = "label"
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
    def target(self) -> str:
        """The column of the classes."""
        return self.label if self.schema is None else self.schema.label.name

    @property
    def unlabelled(self) -> Missing:
        """How to treat rows without a label: a class can't be imputed."""
        if self.schema is not None:
            return self.schema.label.missing
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
    targets = _targets(frame[reading.target][kept], reading, source)
    test = _drawn(targets, aside, reading) if test is None else test[kept]
    schema = reading.schema or _schema(values, targets, ~test, reading, empty, source)
    _check_room(int(kept.sum()), schema, source)
    inputs = torch.from_numpy(encode(values, schema.columns))
    own, held = (
        Samples(
            inputs[rows], torch.from_numpy(targets.numbers[rows]), {each: part[rows] for each, part in aside.items()}
        )
        for rows in (~test, test)
    )
    notes = (*_left_out(empty, kept), *_notes(values, schema, reading))
    return Dataset(
        name, own, held, schema.label.classes, encoding=schema.to_json(), group=reading.group or None, notes=notes
    )


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
    _check_there("label_column", reading.label, names, source)
    for setting in ("columns", "leave_out", "category_columns"):
        for column in getattr(reading, setting):
            _check_there(setting, column, names, source)
    taken = {reading.label, *reading.leave_out, *reading.aside}
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


def _targets(column: Any, reading: Reading, source: str) -> Targets:
    if reading.schema is not None:
        return read_label(column, reading.schema.label, reading.notation, source)
    found = find_label(column, reading.classes, reading.label_edges, reading.notation, source)
    return Targets(found.label.model_copy(update={"missing": reading.unlabelled}), found.numbers)


def _kept(frame: DataFrame, values: Values, aside: Values, reading: Reading, source: str) -> Rows:
    """Return the rows to keep: drop those with missing values if asked for, else refuse unexpected missing values."""
    told = {} if reading.schema is None else {column.name: column.missing for column in reading.schema.columns}
    treated = {name: told.get(name, reading.missing) for name in values}
    treated |= dict.fromkeys([*aside, reading.target], reading.unlabelled)
    kept = np.ones(len(frame), dtype=bool)
    for name, column in {**values, **aside, reading.target: texts_of(frame[reading.target], source)}.items():
        gaps = is_missing(column)
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
    if name in (reading.label, *reading.aside):
        return UsageError("column", name, problem, "fill them in, or give --missing drop to leave these rows out")
    remedy = f"fill them in, or give --missing drop, mean or indicator, or --leave-out {name!r}"
    return UsageError("column", name, problem, remedy)


def _drawn(targets: Targets, aside: Values, reading: Reading) -> Rows:
    groups: Held | None = aside.get(reading.group)
    _, rows = stratified_split(targets.numbers, reading.test_fraction, reading.split_seed, groups)
    test = np.zeros(len(targets.numbers), dtype=bool)
    test[rows] = True
    return test


def _schema(
    values: Values, targets: Targets, train: Rows, reading: Reading, empty: Sequence[str], source: str
) -> Schema:
    columns = [make_column(name, column, train, reading.missing, source) for name, column in values.items()]
    left = tuple(dict.fromkeys([*reading.leave_out, *reading.aside, *empty]))
    return Schema(label=targets.label, columns=tuple(columns), leave_out=left)


def _left_out(empty: Sequence[str], kept: Rows) -> list[str]:
    gone = int((~kept).sum())
    rows = [f"{gone} of {len(kept)} rows are left out, because a value is missing"] if gone else []
    return [*(f"the column {name!r} has no values and is left out" for name in empty), *rows]


def _notes(values: Values, schema: Schema, reading: Reading) -> list[str]:
    if reading.schema is not None:
        return []
    words = {schema.label.name: schema.label.classes} | {column.name: column.categories for column in schema.columns}
    doubtful = [note for name, known in words.items() for note in missing_words(name, known)]
    return [*notes_on(values), *doubtful]
