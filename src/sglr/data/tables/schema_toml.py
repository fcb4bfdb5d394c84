"""A schema as a TOML file that teaches how to edit it."""

from __future__ import annotations

from typing import Any

import tomli_w

from sglr.data.tables.schema import Column, Schema

HEAD = """\
# What the columns of a table are and how they become the inputs of a network: {inputs} inputs, {classes} classes.
# Edit it, and train by it:  sglr train --dataset table:FILE --schema THIS-FILE
# Columns are matched by name; their order here is that of the inputs, whatever it is in a table. A table is refused
# that lacks one of them, or has one that is not named here.

"""
LEAVE_OUT = """
# Columns that a table may have beside these. They are not read.
"""
LABEL = """
# The column that holds the classes, and the classes in the order of their numbers.
# missing: what becomes of a row without a label: error (it is refused) or drop (the row is left out).
"""
COLUMNS = """
# Features. A number x becomes (x - mean) / std; a category becomes one input per category, 1 where it occurs.
# Figures are those of the training rows of the table that this was made from: state your own if you know better ones,
# or want none of your data to tell, e.g. a middle of the plausible range as mean and a quarter of it as std.
# missing: what becomes of a missing value: error (it is refused), drop (its row is left out), mean (the mean stands for
# it; of a category, no input is 1), or indicator (that, and a further input which is 1 where the value is missing).
"""


def schema_toml(schema: Schema) -> str:
    """Return a schema as TOML with comments; `Schema.from_toml` reads it."""
    head = HEAD.format(inputs=len(schema.inputs), classes=len(schema.label.classes))
    label = schema.label.model_dump(mode="json", exclude_defaults=True) | {"missing": schema.label.missing}
    return "".join(
        [
            head,
            _toml({"kind": schema.kind}),
            LEAVE_OUT,
            _toml({"leave_out": list(schema.leave_out)}),
            LABEL,
            _toml({"label": label}),
            COLUMNS,
            "\n".join(f"[[columns]]\n{_toml(_plain(column))}" for column in schema.columns),
        ]
    )


def _plain(column: Column) -> dict[str, Any]:
    told = {"name": column.name, "type": column.type, "missing": column.missing}
    if column.type == "number":
        return told | {"mean": column.mean, "std": column.std}
    return told | {"categories": list(column.categories)}


def _toml(content: dict[str, Any]) -> str:
    return tomli_w.dumps(content)
