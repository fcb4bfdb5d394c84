"""Write schemas as TOML files that explain how to edit them."""

from __future__ import annotations

import tomli_w

from sglr.data.schema import DataSchema
from sglr.data.tables.schema import Schema
from sglr.data.tables.schema_toml import schema_toml as of_table

HEAD = """\
# How the data of {kind}:PATH become the inputs of a network, of shape {shape}.
# Train with it:  sglr train --dataset {kind}:PATH --schema THIS-FILE
# Between sites:  sglr serve --dataset sites --schema THIS-FILE, and each site joins with --data PATH
# What it holds is told to every site.

"""


def schema_toml(schema: DataSchema) -> str:
    """Return a schema as TOML with comments; `sglr.data.schema.find_schema` reads it."""
    if isinstance(schema, Schema):
        return of_table(schema)
    shape = ", ".join(map(str, schema.input_shape))
    return HEAD.format(kind=schema.kind, shape=shape) + tomli_w.dumps(schema.to_json())
