"""Read new data for a network that is trained: what is given, in any form of data that trains."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sglr.core.errors import UsageError
from sglr.core.registry import DATASETS
from sglr.core.spec import options_of
from sglr.data.kind_of_file import kind_of_file
from sglr.data.load import pick_dataset
from sglr.data.new_samples import NewSamples, TrainedOn
from sglr.data.objects.new_arrays import new_objects
from sglr.data.schema import schema_type


def read_new(
    given: Any, trained: TrainedOn, id_column: str = "", data_dir: Path | None = None, **parameters: Any
) -> NewSamples:
    """Return new samples, read as those of the training were.

    Parameters
    ----------
    given
        A path; a data set by its name, such as ``"digits"`` or ``"table:new.csv"``; or an object, such as an array, a
        DataFrame or ``(X, y)``. Of data that are divided into parts, the test part is read.
    trained
        What the network was trained on.
    id_column
        The column of a table that names its rows.
    data_dir
        The folder of named data sets.
    parameters
        How files are read, by name, such as ``separator``.

    Raises
    ------
    UsageError
        If it can't be read, or does not fit the network.
    """
    if not isinstance(given, str | Path):
        return new_objects(given, trained, id_column).checked(trained, "data")
    kind, path = _kind(given, trained)
    own: dict[str, Any] = {}
    if id_column and "id_column" in options_of(DATASETS.outline(kind)):
        parameters["id_column"] = id_column
    elif id_column:
        own["id_column"] = id_column
    part = pick_dataset(f"{kind}:{path.absolute()}" if path is not None else str(given), parameters)
    if not hasattr(part, "read_new"):
        _refuse_id_column(own, given)
        return _test_part(part, trained, kind, str(given), data_dir).checked(trained, str(given))
    _refuse_kind(kind, trained, given)
    if own and "id_column" not in inspect.signature(part.read_new).parameters:
        _refuse_id_column(own, given)
    found: NewSamples = part.read_new(trained, **own)
    return found.checked(trained, str(given))


def _kind(given: str | Path, trained: TrainedOn) -> tuple[str, Path | None]:
    """Return the name of the data set, and the path that it reads; None for data sets that have names."""
    path = Path(given)
    if isinstance(given, str) and not path.exists():
        name, colon, argument = given.partition(":")
        if name in DATASETS.names():
            return name, Path(argument) if colon and "path" in options_of(DATASETS.outline(name)) else None
    return kind_of_file(path, str(trained.encoding.get("kind"))), path


def _refuse_kind(kind: str, trained: TrainedOn, given: str | Path) -> None:
    """Refuse data that are read by the run's schema, if that is of another kind, or there is none."""
    known = trained.encoding.get("kind")
    if schema_type(kind) is not None and known != kind:
        other = "other data" if known is None else f"the kind {known}"
        problem = f"is data of the kind {kind}, and the network was trained on {other}"
        raise UsageError("data", given, problem, "give data of that kind")


def _refuse_id_column(own: Mapping[str, str], given: str | Path) -> None:
    if own:
        raise UsageError("id_column", own["id_column"], f"{given} is no table", "leave it out")


def _test_part(part: Any, trained: TrainedOn, kind: str, source: str, data_dir: Path | None) -> NewSamples:
    """Read data that have a name, or that no data set reads without targets."""
    if schema_type(kind) is not None and trained.encoding.get("kind") == kind:
        part = dataclasses.replace(part, schema=dict(trained.encoding))
    return NewSamples.of_test(part.load(data_dir), trained, source)
