"""Write a schema as a TOML file with comments that explain how to edit it."""

from __future__ import annotations

from typing import Any

import tomli_w

from sglr.data.tables.schema import Column, Label, Schema

HEAD = """\
# What the columns of a table are and how they become the inputs of a network: {inputs} inputs, {targets}.
# Edit it, and train with it:  sglr train --dataset table:FILE --schema THIS-FILE
# Columns are matched by name; their order here is the order of the inputs, in any table. A table is refused
# if it lacks one of these columns, or has one that is not named here.

"""
LEAVE_OUT = """
# Further columns that a table may have. They are ignored.
"""
LABELS = {
    "class": """
# The column that holds the classes, and the classes in the order of their numbers.
""",
    "finding": """
# The columns that hold findings; of each, the words for absent and present.
""",
    "number": """
# What is to be predicted: numbers. A network learns (x - mean) / std, and scores are in the column's own unit.
# Means and stds are those of the training rows; all sites must use the same, and any plausible ones do.
""",
}
MISSING = """\
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
    head = HEAD.format(inputs=len(schema.inputs), targets=_targets(schema))
    return "".join(
        [
            head,
            _toml({"kind": schema.kind}),
            LEAVE_OUT,
            _toml({"leave_out": list(schema.leave_out)}),
            LABELS[schema.all_labels[0].type] + MISSING,
            _labels(schema),
            COLUMNS,
            "\n".join(f"[[columns]]\n{_toml(_plain(column))}" for column in schema.columns),
        ]
    )


def _targets(schema: Schema) -> str:
    labels, kind = schema.all_labels, schema.all_labels[0].type
    if kind == "class":
        return f"{len(labels[0].classes)} classes"
    return f"{len(labels)} {kind}{'s' if len(labels) > 1 else ''} to predict"


def _labels(schema: Schema) -> str:
    if schema.label is not None:
        return _toml({"label": _told(schema.label)})
    return "\n".join(f"[[labels]]\n{_toml(_told(label))}" for label in schema.labels)


def _told(label: Label) -> dict[str, Any]:
    told = label.model_dump(mode="json", exclude_defaults=True) | {"missing": label.missing}
    return told | ({"mean": label.mean, "std": label.std} if label.type == "number" else {})


def _plain(column: Column) -> dict[str, Any]:
    told = {"name": column.name, "type": column.type, "missing": column.missing}
    if column.type == "number":
        return told | {"mean": column.mean, "std": column.std}
    return told | {"categories": list(column.categories)}


def _toml(content: dict[str, Any]) -> str:
    return tomli_w.dumps(content)
