"""``sglr schema``: print the schema of data as a file to edit."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from sglr.cli.options import AsJson, Debug


def schema(
    ctx: typer.Context,
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA",
            help="A table (.csv, .tsv, .txt, .data or .parquet), or other data by kind and path, such as audio:PATH.",
        ),
    ],
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Print how data become inputs: of a table, what its columns are.

    Save it to a file, edit the file, and train with it: sglr train --dataset table:DATA --schema FILE. Use the same
    schema for all data that the same network reads.
    """
    del debug
    from sglr.core.errors import UsageError
    from sglr.core.spec import name_in
    from sglr.data.load import load_dataset
    from sglr.data.schema import schema_type
    from sglr.data.schema_toml import schema_toml

    named = ":" in data and not Path(data).exists()
    kind = schema_type(name_in(data)) if named else schema_type("table")
    if kind is None:
        raise UsageError("data", data, "no schema describes such data", "give a table, or such as audio:PATH")
    dataset = load_dataset(data if named else f"table:{data}", None, ctx.obj)
    for note in dataset.notes:
        print(f"note: {note}", file=sys.stderr)
    print(json.dumps(dataset.encoding, indent=2) if as_json else schema_toml(kind.from_json(dataset.encoding)), end="")
    if as_json:
        print()
