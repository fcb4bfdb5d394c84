"""The record of a run's data in its folder, with which the trained network is loaded without the data.

The folder may come from a stranger, so every value is checked, and none names code.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator

from sglr.core.errors import UsageError
from sglr.storage.files import read_if_there

DATA = "data.json"
"""The file's name in a run's folder."""

MOST_VALUES, MOST_CLASSES = 1 << 26, 100_000
"""Largest numbers that are accepted: values of one input, classes."""


class MethodFacts(BaseModel):
    """Properties of a method, as in `sglr.core.method.Method`."""

    model_config = ConfigDict(frozen=True)

    whole_model: bool = False
    pooled: bool = False
    shares: bool = False
    server_copies: bool = False


class DataRecord(BaseModel):
    """What a run's parts are built from, in addition to its settings.

    Parameters
    ----------
    input_shape, dtype
        Of one input.
    classes
        The names of the classes.
    clients
        |C|.
    cut, tail
        The layers that the model was cut behind.
    encoding
        How stored values became inputs, as in `sglr.core.data.Dataset`.
    method
        Properties of the method.
    dataset, data_dir
        Where the data were read from, as absolute paths; None if they are not files.
    """

    model_config = ConfigDict(frozen=True)

    input_shape: tuple[int, ...] = Field(max_length=8)
    dtype: Literal[
        "float32", "float64", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool", "complex64"
    ]
    classes: tuple[str, ...] = Field(min_length=1, max_length=MOST_CLASSES)
    clients: int = Field(ge=1)
    cut: str | int
    tail: str | int | None = None
    encoding: dict[str, JsonValue] = Field(default_factory=dict)
    method: MethodFacts = MethodFacts()
    dataset: str | None = None
    data_dir: str | None = None

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if any(size < 1 for size in self.input_shape) or math.prod(self.input_shape) > MOST_VALUES:
            raise ValueError(f"input_shape has a size below 1, or more than {MOST_VALUES} values")
        return self

    def text(self) -> str:
        """Return the text of its file."""
        return self.model_dump_json(indent=2) + "\n"

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """Read a record; None if there is no such file, as in runs of sglr 0.1.

        Raises
        ------
        UsageError
            If it can't be read, or a value is invalid.
        """
        try:
            content = read_if_there(path)
            return None if content is None else cls.model_validate_json(content)
        except (ValidationError, ValueError, RecursionError) as error:
            reason = _first(error) if isinstance(error, ValidationError) else error
            raise UsageError("run", path, f"is damaged ({reason})", "restore that file, or train again") from error


def _first(error: ValidationError) -> str:
    first: Any = error.errors()[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}".removeprefix(": ")
