"""Data that stay at the sites that join: the server only knows the shape of the inputs and the classes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from sglr.core.data import Dataset, Samples
from sglr.core.errors import UsageError
from sglr.core.task import Targets
from sglr.data.images.pixel_range import stated_range
from sglr.data.schema import DataSchema, find_schema

__all__ = ["Sites"]

INPUT_TYPES = {"float32": torch.float32, "int64": torch.int64}


@dataclass(frozen=True)
class Sites:
    """What the operator of a server states about the data that each site keeps.

    A schema makes all sites read their data alike: tables need one, and so do texts, recordings, series, volumes and
    masks. Pictures and arrays need the shape of an input and the classes.
    """

    input_shape: tuple[int, ...] = field(
        default=(), metadata={"help": "shape of one input, such as 1,28,28", "by_run": True}
    )
    classes: int | tuple[str, ...] = field(
        default=(),
        metadata={"help": "the classes in order; or their number, if they are named 0, 1, 2 …", "by_run": True},
    )
    pixel_range: tuple[float, ...] | None = field(
        default=None,
        metadata={
            "help": "lowest and highest value of the sites' pictures, if they have more than 8 bits",
            "clients": "take",
            "since": "0.2.0",
        },
    )
    schema: str | dict[str, Any] = field(
        default="",
        metadata={
            "help": "a TOML file (sglr schema) that says how data are read; default: none",
            "by_run": True,
            "clients": "hidden",
            "since": "0.2.0",
        },
    )
    input_type: str = field(
        default="float32",
        metadata={"help": "type of the inputs: float32, or int64 for token ids", "since": "0.2.0"},
    )

    def load(self, data_dir: Path | None) -> Dataset:
        """Return a data set without samples; ``data_dir`` is not needed.

        Raises
        ------
        UsageError
            If the shape or the classes are missing or invalid, or the type is unknown.
        """
        del data_dir
        if self.schema:
            return self._by_schema(find_schema(self.schema))
        if not self.input_shape or min(self.input_shape) < 1:
            shown = ",".join(map(str, self.input_shape)) or "none"
            problem = "the shape of the sites' inputs is not given"
            raise UsageError("input_shape", shown, problem, "give e.g. 1,28,28, or a --schema for tables")
        stated_range(self.pixel_range)
        if self.input_type not in INPUT_TYPES:
            problem = "not a supported input type"
            raise UsageError("input_type", self.input_type, problem, f"give {' or '.join(INPUT_TYPES)}")
        targets = Targets.of_classes(self._names())
        return _without_samples(self.input_shape, targets, kind=INPUT_TYPES[self.input_type])

    def _by_schema(self, schema: DataSchema) -> Dataset:
        shape, targets = schema.input_shape, schema.targets
        if self.input_shape not in ((), shape):
            shown, own = (",".join(map(str, each)) for each in (self.input_shape, shape))
            raise UsageError("input_shape", shown, f"the schema's inputs have shape {own}", "leave it out")
        if self.classes and self._names() != targets.names:
            problem = f"the schema's classes are {', '.join(targets.names) or 'tokens'}"
            raise UsageError("classes", ",".join(self._names()), problem, "leave them out, or edit the schema")
        return _without_samples(shape, targets, schema.to_json(), INPUT_TYPES[schema.input_type])

    def _names(self) -> tuple[str, ...]:
        classes = self.classes
        if isinstance(classes, tuple) and len(classes) == 1 and classes[0].isdigit():
            classes = int(classes[0])
        names = tuple(map(str, range(classes))) if isinstance(classes, int) else classes
        if len(names) < 2 or len(set(names)) < len(names):
            problem = "training needs two or more classes with distinct names"
            shown = str(classes) if isinstance(classes, int) else ",".join(classes) or "none"
            raise UsageError("classes", shown, problem, "give e.g. healthy,ill or a number")
        return names


def _without_samples(
    shape: tuple[int, ...],
    targets: Targets,
    encoding: dict[str, Any] | None = None,
    kind: torch.dtype = torch.float32,
) -> Dataset:
    none = Samples(torch.zeros(0, *shape, dtype=kind), torch.zeros(0, *targets.shape, dtype=targets.torch_dtype))
    return Dataset("sites", none, none, encoding=encoding or {}, targets=targets)
