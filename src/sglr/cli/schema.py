"""``sglr schema``: print the schema of a table as a file to edit."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from sglr.cli.options import AsJson, Debug


def schema(
    ctx: typer.Context,
    data: Annotated[str, typer.Argument(metavar="DATA", help="The table: a .csv, .tsv, .txt, .data or .parquet file.")],
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Print what the columns of a table are and how they become inputs.

    Save it to a file, edit the file, and train with it: sglr train --dataset table:DATA --schema FILE. Use the same
    schema for every table that the same network reads.
    """
    del debug
    from sglr.data.load import load_dataset
    from sglr.data.tables.schema import Schema
    from sglr.data.tables.schema_toml import schema_toml

    dataset = load_dataset(f"table:{data}", None, ctx.obj)
    for note in dataset.notes:
        print(f"note: {note}", file=sys.stderr)
    print(
        json.dumps(dataset.encoding, indent=2) if as_json else schema_toml(Schema.from_json(dataset.encoding)), end=""
    )
    if as_json:
        print()
