"""``sglr schema``: what a table's columns are and how they become inputs, as a file to be edited."""

from __future__ import annotations

import json
import sys
from functools import cache
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from sglr.cli.options import AsJson, Debug
from sglr.cli.settings import Setting, click_options, parameters
from sglr.core.registry import DATASETS


class SchemaCommand(TyperCommand):
    """A command that takes every way of reading a table as a flag; it finds those that were given in ``ctx.obj``."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the command's own options, and those of the data set ``table``."""
        return [*super().get_params(ctx), *click_options(_options().values())]

    def invoke(self, ctx: Any) -> Any:
        """Run the command, with the ways of reading that were given set apart from its own options."""
        known = _options()
        given = {name: ctx.params.pop(name) for name in known}
        ctx.obj = {name: known[name].read(value) for name, value in given.items() if value is not None}
        return super().invoke(ctx)


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
    from sglr.data.schema import Schema
    from sglr.data.schema_toml import schema_toml

    dataset = load_dataset(f"table:{data}", None, ctx.obj)
    for note in dataset.notes:
        print(f"note: {note}", file=sys.stderr)
    print(
        json.dumps(dataset.encoding, indent=2) if as_json else schema_toml(Schema.from_json(dataset.encoding)), end=""
    )
    if as_json:
        print()


@cache
def _options() -> dict[str, Setting]:
    table = parameters(DATASETS.load("table"), "Reading")
    return {setting.name: setting for setting in table if setting.name not in ("path", "schema")}
