"""The record of a run's data in its folder, with which the trained network is loaded without the data.

The folder may come from a stranger, so every value is checked, and none names code.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any, Literal, Self

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
    head: bool = False
    trains_head: bool = True
    head_weight: float = Field(default=1.0, ge=0, le=1)
    own_share: float = Field(default=0.0, ge=0, le=1)


class TargetFacts(BaseModel):
    """What targets are, as in `sglr.core.task.Targets`."""

    model_config = ConfigDict(frozen=True)

    names: tuple[str, ...] = Field(default=(), max_length=MOST_CLASSES)
    shape: tuple[int, ...] = Field(default=(), max_length=8)
    dtype: Literal["int64", "uint8", "float32"] = "int64"
    classes: int = Field(default=0, ge=0, le=MOST_CLASSES)
    units: tuple[tuple[float, Annotated[float, Field(gt=0)]], ...] = Field(default=(), max_length=MOST_CLASSES)

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        _check_shape("shape", self.shape)
        if (self.dtype == "float32") != (self.classes == 0):
            raise ValueError("only measurements, whose dtype is float32, have 0 classes")
        return self


class DataRecord(BaseModel):
    """What a run's parts are built from, in addition to its settings.

    Parameters
    ----------
    input_shape, dtype
        Of one input.
    classes
        The names of the classes, where each sample has one.
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
    targets
        What the targets are, where samples don't each have a class.
    task
        The task's parameters, with those that were found from the data; empty for runs of before.
    """

    model_config = ConfigDict(frozen=True)

    input_shape: tuple[int, ...] = Field(max_length=8)
    dtype: Literal[
        "float32", "float64", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool", "complex64"
    ]
    classes: tuple[str, ...] = Field(default=(), max_length=MOST_CLASSES)
    clients: int = Field(ge=1)
    cut: str | int
    tail: str | int | None = None
    encoding: dict[str, JsonValue] = Field(default_factory=dict)
    method: MethodFacts = MethodFacts()
    dataset: str | None = None
    data_dir: str | None = None
    targets: TargetFacts | None = None
    task: dict[str, JsonValue] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        _check_shape("input_shape", self.input_shape)
        if bool(self.classes) == (self.targets is not None):
            raise ValueError("needs either classes or targets")
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


def _check_shape(name: str, shape: tuple[int, ...]) -> None:
    if any(size < 1 for size in shape) or math.prod(shape) > MOST_VALUES:
        raise ValueError(f"{name} has a size below 1, or more than {MOST_VALUES} values")


def _first(error: ValidationError) -> str:
    first: Any = error.errors()[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}".removeprefix(": ")
