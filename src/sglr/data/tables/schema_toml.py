"""Write a schema as a TOML file with comments that explain how to edit it."""

from __future__ import annotations

from typing import Any

import tomli_w

from sglr.data.tables.schema import Column, Schema

HEAD = """\
# What the columns of a table are and how they become the inputs of a network: {inputs} inputs, {classes} classes.
# Edit it, and train with it:  sglr train --dataset table:FILE --schema THIS-FILE
# Columns are matched by name; their order here is the order of the inputs, in any table. A table is refused
# if it lacks one of these columns, or has one that is not named here.

"""
LEAVE_OUT = """
# Further columns that a table may have. They are ignored.
"""
LABEL = """
# The column that holds the classes, and the classes in the order of their numbers.
# missing: how to treat a row without a label: error (refuse the table) or drop (leave the row out).
"""
COLUMNS = """
# Features. A number x becomes (x - mean) / std; a category becomes one input per category, 1 where it occurs.
# Means and stds are those of the training rows of the table that this was made from. Replace them if you know better
# ones, or don't want to reveal yours, e.g. by the middle of the plausible range as mean and a quarter of it as std.
# missing: how to treat a missing value: error (refuse the table), drop (leave the row out), mean (use the mean;
# for a category, no input is 1), or indicator (do that, and add an input that is 1 where the value is missing).
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
