"""Rows of a table for a network that is trained: encoded by the schema of its training data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sglr.core.errors import UsageError, listed
from sglr.data.new_samples import NewSamples, numbered
from sglr.data.tables.column_kinds import Notation, is_missing, texts_of
from sglr.data.tables.encoding import Values, encode, read_values
from sglr.data.tables.labels import gaps_of, read_label, targets_of
from sglr.data.tables.schema import Schema

if TYPE_CHECKING:
    from pandas import DataFrame

SHOWN = 12
"""Names in a message."""


def new_rows(
    frame: DataFrame, schema: Schema, notation: Notation, source: str, id_column: str = "", notes: Sequence[str] = ()
) -> NewSamples:
    """Return the rows of a table as samples.

    Columns that the schema does not name are not used. A missing value is treated as in training; where the schema
    drops such rows, they are left out.

    Parameters
    ----------
    frame
        The table.
    schema
        That of the training data.
    notation
        How numbers are formatted in text.
    source
        Where the table comes from, for messages.
    id_column
        The column that names the rows; empty for their numbers, or for the table's own index if it is no range.
    notes
        What the user should know already.

    Raises
    ------
    UsageError
        If a column is missing, or has values that the schema does not allow.
    """
    frame = frame.set_axis([str(column).strip() for column in frame.columns], axis=1)
    named = [column.name for column in schema.columns]
    _check_there([*named, *filter(None, [id_column])], list(frame.columns), source)
    values: Values = {
        column.name: read_values(frame[column.name], column, notation, source) for column in schema.columns
    }
    kept = _kept(values, schema, source)
    told = [*notes, *_unused(frame, schema, id_column, source)]
    if not kept.all():
        told.append(f"{int((~kept).sum())} of {len(kept)} rows are left out, because a value is missing")
    ids, frame = _ids(frame, id_column, source)[kept], frame[kept]
    values = {name: column[kept] for name, column in values.items()}
    targets, unlabelled = _targets(frame, schema, notation, source)
    inputs = torch.from_numpy(encode(values, schema.columns))
    return NewSamples(inputs, tuple(ids), targets, (*told, *unlabelled))


def _check_there(wanted: Sequence[str], names: Sequence[str], source: str) -> None:
    for name in wanted:
        if name not in names:
            problem = f"{source} lacks this column, which the network reads"
            raise UsageError("column", name, problem, f"add it; columns: {listed(names, SHOWN)}")
        if names.count(name) > 1:
            raise UsageError("column", name, f"{source} has several columns of this name", "remove the others")


def _kept(values: Values, schema: Schema, source: str) -> NDArray[np.bool_]:
    kept = np.ones(len(next(iter(values.values()))), dtype=bool)
    for column in schema.columns:
        gaps = is_missing(values[column.name])
        if column.missing == "drop":
            kept &= ~gaps
        elif column.missing == "error" and gaps.any():
            first = int(gaps.argmax()) + 1
            problem = f"{source} has {int(gaps.sum())} row(s) without a value in this column, the first is row {first}"
            raise UsageError("column", column.name, problem, "fill them in: the network was trained without gaps there")
    if not kept.any():
        raise UsageError("data", source, "each row has a missing value", "fill them in")
    return kept


def _unused(frame: DataFrame, schema: Schema, id_column: str, source: str) -> list[str]:
    own = {column.name for column in schema.columns} | {label.name for label in schema.all_labels}
    further = [name for name in frame.columns if name not in {*own, *schema.leave_out, id_column}]
    return [f"columns of {source} that the network does not read: {listed(further, SHOWN)}"] if further else []


def _targets(frame: DataFrame, schema: Schema, notation: Notation, source: str) -> tuple[Tensor | None, list[str]]:
    """Return the targets if all rows have them, and what there is to say if only some have."""
    labels = schema.all_labels
    if any(label.name not in frame.columns for label in labels):
        return None, []
    numbers = labels[0].type == "number" or bool(labels[0].edges)
    gaps = np.any([gaps_of(frame[label.name], source, numbers) for label in labels], axis=0)
    if gaps.any():
        some = f"{int(gaps.sum())} of {len(gaps)} rows have no label: labels are not used"
        return None, [] if gaps.all() else [some]
    found = [read_label(frame[label.name], label, notation, source) for label in labels]
    targets = torch.from_numpy(targets_of(found))
    return targets.to(schema.targets.torch_dtype), []


def _ids(frame: DataFrame, id_column: str, source: str) -> NDArray[np.object_]:
    if id_column:
        names = ["" if text is None else text for text in texts_of(frame[id_column], source)]
    elif type(frame.index).__name__ == "RangeIndex":
        names = list(numbered(len(frame)))
    else:
        names = list(map(str, frame.index))
    return np.array(names, dtype=object)
