"""Load a data set by its name and parameters."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from sglr.core.data import Dataset
from sglr.core.errors import UsageError
from sglr.core.registry import DATASETS
from sglr.core.spec import options_of, plain_value, problem_of


def load_dataset(spec: str, data_dir: Path | None, parameters: Mapping[str, object] | None = None) -> Dataset:
    """Load the data set that ``spec`` names.

    Parameters
    ----------
    spec
        A registered name, with an argument after a colon if it takes one: ``"digits"``,
        ``"hf:ylecun/mnist"``, ``"folder:pictures"``, ``"table:patients.csv"``. The argument is the value of
        the first parameter.
    data_dir
        The folder of the data files; None for the folder in the environment variable SGLR_DATA_DIR.
    parameters
        The data set's parameters by name.

    Raises
    ------
    UsageError
        If the name, a parameter or the data is invalid.
    """
    dataset: Dataset = pick_dataset(spec, parameters).load(data_dir)
    return dataset


def pick_dataset(spec: str, parameters: Mapping[str, object] | None = None) -> Any:
    """Return the data set that ``spec`` names with its parameters, not yet loaded; see `load_dataset`."""
    name, colon, argument = spec.partition(":")
    part = DATASETS.load(name)
    given = dict(parameters or {})
    if colon:
        given[next(iter(options_of(part)))] = argument
    return _build(part, name, given)


def _build(part: type[Any], name: str, given: Mapping[str, object]) -> Any:
    known = options_of(part)
    for parameter in given:
        if parameter not in known:
            raise _unknown_parameter(name, parameter, list(known))
    try:
        plain = {key: plain_value(known[key].kind, value) for key, value in given.items()}
        return TypeAdapter(part).validate_python(plain)
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(str(first["loc"][0]), first["input"], problem_of(error), f"correct it ({name})") from error


def _unknown_parameter(dataset: str, parameter: str, known: list[str]) -> UsageError:
    nearest = get_close_matches(parameter, known, n=1, cutoff=0.5)
    hint = f"did you mean {nearest[0]!r}? " if nearest else ""
    problem = f"the data set {dataset!r} has no such parameter"
    return UsageError("parameter", parameter, problem, f"{hint}known: {', '.join(known)}")
