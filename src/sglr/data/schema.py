"""Schemas: how what is stored becomes inputs and targets, agreed by all who hold data of one run.

A data set that a schema can describe names its class as ``schema_type``. Its ``encoding`` is the schema that its
samples were read by, so that new data, and the data of other sites, are read alike.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sglr.core.errors import UsageError
from sglr.core.registry import DATASETS
from sglr.core.task import Targets
from sglr.storage.toml_files import read_toml_file

Name = Annotated[str, Field(min_length=1)]
S = TypeVar("S", bound="DataSchema")


class SchemaPart(BaseModel):
    """A part of a schema: unknown keys are refused, and it can't be changed."""

    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True)


class DataSchema(SchemaPart):
    """How samples are read.

    Parameters
    ----------
    kind
        The name of the data set that reads by it.
    """

    kind: str

    @property
    @abstractmethod
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input."""

    @property
    def input_type(self) -> Literal["float32", "int64"]:
        """The type of inputs, by torch's name."""
        return "float32"

    @property
    @abstractmethod
    def targets(self) -> Targets:
        """What targets are."""

    @classmethod
    def from_json(cls, content: Mapping[str, Any], source: object = "schema") -> Self:
        """Read a schema from plain values, such as `Dataset.encoding`.

        Parameters
        ----------
        content
            The values.
        source
            Where they come from, for messages.

        Raises
        ------
        UsageError
            If a key is missing, unknown or invalid; the message names the first such key.
        """
        try:
            return cls.model_validate(dict(content))
        except ValidationError as error:
            raise _explained(error, content, source) from error

    @classmethod
    def from_toml(cls, path: Path) -> Self:
        """Read a schema from a TOML file; see `from_json`."""
        return cls.from_json(_file(path), path)

    def to_json(self) -> dict[str, Any]:
        """Return the schema as plain values for JSON and TOML; `from_json` reads them."""
        return self.model_dump(mode="json", exclude_none=True)


def read_schema(given: str | Mapping[str, Any], kind: type[S]) -> S:
    """Return the schema of a setting: the path of a TOML file, or the content of such a file.

    Raises
    ------
    UsageError
        If the file can't be read, or a key is missing, unknown or invalid.
    """
    return kind.from_toml(Path(given)) if isinstance(given, str) else kind.from_json(given)


def find_schema(given: str | Mapping[str, Any]) -> DataSchema:
    """Return the schema of a setting, of the kind that it says itself; see `read_schema`."""
    content, source = (_file(Path(given)), given) if isinstance(given, str) else (given, "schema")
    name = content.get("kind")
    kind = schema_type(name) if isinstance(name, str) else None
    if kind is None:
        known = ", ".join(each for each in DATASETS.names() if schema_type(each) is not None)
        raise UsageError("kind", str(name)[:60], f"no such kind of schema, in {source}", f"give one of {known}")
    return kind.from_json(content, source)


def schema_type(dataset: str) -> type[DataSchema] | None:
    """Return the class of the schemas of the data set of this name; None if there are none."""
    if dataset not in DATASETS.names():
        return None
    found: type[DataSchema] | None = getattr(DATASETS.load(dataset), "schema_type", None)
    return found


def refuse_repeated(names: Sequence[str], what: str) -> None:
    """Raise ValueError if a name is there twice."""
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        raise ValueError(f"the {what} {twice[0]!r} is named twice")


def _file(path: Path) -> dict[str, Any]:
    content = read_toml_file(path, "schema")
    if content is None:
        raise UsageError("schema", path, "there is no such file", "make one: sglr schema DATA")
    return content


def _explained(error: ValidationError, content: Mapping[str, Any], source: object) -> UsageError:
    first = error.errors()[0]
    problem = first["msg"].removeprefix("Value error, ")
    place = _place(first["loc"], content)
    value = first["input"] if not isinstance(first["input"], (Mapping, BaseModel)) else source
    return UsageError(place, value, problem[0].lower() + problem[1:], f"correct it in {source}")


def _place(location: Sequence[int | str], content: Any) -> str:
    """Return the path of an error in a schema, such as ``columns.age.std``; columns are given by name."""
    parts = ["schema"] if not location else []
    for key in location:
        content = content[key] if _has(content, key) else None
        named = isinstance(key, int) and isinstance(content, Mapping) and content.get("name")
        parts.append(str(content["name"]) if named and content is not None else str(key))
    return ".".join(parts)


def _has(content: Any, key: int | str) -> bool:
    if isinstance(content, Mapping):
        return key in content
    return isinstance(key, int) and isinstance(content, Sequence) and key < len(content)
