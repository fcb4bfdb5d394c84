"""``sglr schema``: what a table's columns are and how they become inputs, as a file to be edited."""

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

    Write it into a file, edit that, and train by it: sglr train --dataset table:DATA --schema FILE. Whoever feeds the
    same network with another table does it by the same schema.
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
