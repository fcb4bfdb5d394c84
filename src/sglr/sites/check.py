"""``sglr join --check``: what a run would read of a site's data and send, told before the site joins."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sglr.core.errors import UsageError, listed
from sglr.data.schema import schema_type
from sglr.data.tables.schema import Column, Schema
from sglr.engines.remote.run_description import RunDescription
from sglr.engines.remote.trust.identity import Identity
from sglr.engines.remote.trust.token import Token
from sglr.engines.remote.trust.token_holder import TokenHolder
from sglr.runs.config import Experiment
from sglr.sites.build_client import SiteConfig, own_experiment, own_segments, own_task, wanted_of
from sglr.sites.join import ask_description
from sglr.sites.own_data import OwnData, load_own
from sglr.sites.requirements import what_leaves

SHOWN = 12
"""Names in a line."""


def what_is_read(address: str, tokens: Sequence[str], site: SiteConfig, out: Path | None = None) -> list[str]:
    """Check that a site's data, model and requirements fit a run, and tell what would be read and sent.

    Nothing is joined, written, or used up.

    Parameters
    ----------
    address
        ``HOST:PORT`` of the server.
    tokens
        Join tokens, of which the first is used to ask what the run is.
    site
        The settings of the site.
    out
        The folder of a client that has joined, to ask with instead of a token.

    Returns
    -------
    list of str
        Lines for people.

    Raises
    ------
    UsageError
        If there is neither a token nor a folder, or something does not fit.
    SglrError
        If the server can't be reached, or refuses this site.
    """
    description = ask_description(address, _caller(address, tokens, out))
    experiment = own_experiment(description, site.model, site.task)
    site.requirements.check(experiment)
    client = site.source.share[0] if site.source.share else 0
    data = load_own(site.source, wanted_of(description), [client])[client]
    own_segments(description, experiment)
    own_task(experiment, description, data)
    return [
        *_of_run(description, experiment),
        *_of_data(site, data, description),
        what_leaves(experiment, site.requirements),
        DONE,
    ]


DONE = "this was a check only: no token was used; leave out --check to take part"


def _caller(address: str, tokens: Sequence[str], out: Path | None) -> Identity | TokenHolder:
    if out is not None and (out / "identity.pem").exists():
        return Identity.open(out)
    if tokens:
        return TokenHolder.of(address, Token.parse(tokens[0]))
    raise UsageError("token", "none", "no token given", "paste the whole line of the server, or give --out")


def _of_run(description: RunDescription, experiment: Experiment) -> Iterator[str]:
    yield f"the run is of {description.clients} clients: method {experiment.method}, model {experiment.model}"


def _of_data(site: SiteConfig, data: OwnData, description: RunDescription) -> Iterator[str]:
    held = [f"{len(data.held[name])} for {name}" for name in ("validation", "test") if name in data.held]
    read = ", ".join([f"{len(data.train)} samples to train on", *held])
    shape = ",".join(map(str, description.input_shape))
    yield f"{site.source.path or site.source.dataset}: {read}; an input is {shape}"
    if description.classes:
        yield f"classes: {_counts(data, description.classes)}"
    else:
        yield f"targets: {description.targets.describe()}"
    if description.encoding.get("kind") == "table":
        yield from _of_columns(description.encoding)
    elif schema_type(str(description.encoding.get("kind"))) is not None:
        yield _of_schema(description.encoding)
    yield from (f"note: {note}" for note in data.notes)


def _counts(data: OwnData, classes: Sequence[str]) -> str:
    targets = np.concatenate([part.targets.numpy() for part in (data.train, *data.held.values())])
    counts = np.bincount(targets, minlength=len(classes)).tolist()
    return listed([f"{name} {count}" for name, count in zip(classes, counts, strict=True)], SHOWN)


def _of_schema(encoding: Mapping[str, Any]) -> str:
    """Tell what a schema of other data than tables says, but for what is long."""
    said = [
        f"{name} {value}" for name, value in encoding.items() if isinstance(value, str | int | float) and value != ""
    ]
    return f"read by the run's schema: {', '.join(said)}"


def _of_columns(encoding: Mapping[str, Any]) -> Iterator[str]:
    schema = Schema.from_json(encoding)
    labels = listed([label.name for label in schema.all_labels], SHOWN)
    yield f"columns, by name and in the order of the inputs (label: {labels}):"
    width = max(len(column.name) for column in schema.columns)
    yield from (f"  {column.name:{width}}  {_told(column)}" for column in schema.columns)
    if schema.leave_out:
        yield f"not read: {listed(schema.leave_out, SHOWN)}"


def _told(column: Column) -> str:
    read = f"(x - {column.mean:g}) / {column.std:g}" if column.type == "number" else listed(column.categories, SHOWN)
    missing = "" if column.missing == "error" else f"; missing: {column.missing}"
    return f"{column.type}: {read}{missing}"
