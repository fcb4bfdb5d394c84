"""Data that stay at the sites that join: the server only knows what inputs and targets are."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch

from sglr.core.data import Dataset, Samples
from sglr.core.errors import UsageError
from sglr.core.task import Targets
from sglr.data.images.pixel_range import stated_range
from sglr.data.schema import DataSchema, find_schema
from sglr.splitting.input_layout import KEY, InputLayout, read_layout

__all__ = ["Sites"]

INPUT_TYPES = {"float32": torch.float32, "int64": torch.int64}


@dataclass(frozen=True)
class Sites:
    """What the operator of a server states about the data that each site keeps.

    A schema makes all sites read their data alike: tables need one, and so do texts, recordings, series, volumes and
    masks. Pictures and arrays need the shape of an input and the classes, or what else their targets are. Where each
    sample has several inputs, ``input_layout`` names them.
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
    target_shape: tuple[int, ...] = field(
        default=(),
        metadata={
            "help": "shape of one target, such as 224,224 for a mask or 14 for findings; default: a single number",
            "by_run": True,
            "since": "0.2.0",
        },
    )
    target_type: Literal["int64", "uint8", "float32"] = field(
        default="int64",
        metadata={
            "help": "type of the targets: int64 for classes or tokens, uint8 for masks, float32 for measurements",
            "by_run": True,
            "since": "0.2.0",
        },
    )
    target_names: tuple[str, ...] = field(
        default=(),
        metadata={"help": "names of the values of one target, in order", "by_run": True, "since": "0.2.0"},
    )
    input_layout: str = field(
        default="",
        metadata={
            "help": "several inputs of each sample: names with shapes, and int64 or bool, as image:1,8,8+ids:32:int64",
            "by_run": True,
            "since": "0.2.0",
        },
    )

    def load(self, data_dir: Path | None) -> Dataset:
        """Return a data set without samples; ``data_dir`` is not needed.

        Raises
        ------
        UsageError
            If shapes or classes are missing or invalid, or don't fit one another, or the type is unknown.
        """
        del data_dir
        if self.schema:
            return self._by_schema(find_schema(self.schema))
        if self.input_layout:
            return self._several(read_layout(self.input_layout))
        if not self.input_shape or min(self.input_shape) < 1:
            shown = ",".join(map(str, self.input_shape)) or "none"
            problem = "the shape of the sites' inputs is not given"
            raise UsageError("input_shape", shown, problem, "give e.g. 1,28,28, or a --schema for tables")
        stated_range(self.pixel_range)
        if self.input_type not in INPUT_TYPES:
            problem = "not a supported input type"
            raise UsageError("input_type", self.input_type, problem, f"give {' or '.join(INPUT_TYPES)}")
        return _without_samples(self.input_shape, self._targets(), kind=INPUT_TYPES[self.input_type])

    def _by_schema(self, schema: DataSchema) -> Dataset:
        shape, targets = schema.input_shape, schema.targets
        if self.input_shape not in ((), shape):
            shown, own = (",".join(map(str, each)) for each in (self.input_shape, shape))
            raise UsageError("input_shape", shown, f"the schema's inputs have shape {own}", "leave it out")
        if self.classes and self._names() != targets.names:
            problem = f"the schema's classes are {', '.join(targets.names) or 'tokens'}"
            raise UsageError("classes", ",".join(self._names()), problem, "leave them out, or edit the schema")
        for name in ("target_shape", "target_names"):
            if getattr(self, name):
                shown = ",".join(map(str, getattr(self, name)))
                raise UsageError(name, shown, "the schema says what targets are", "leave it out")
        return _without_samples(shape, targets, schema.to_json(), INPUT_TYPES[schema.input_type])

    def _several(self, layout: InputLayout) -> Dataset:
        if self.input_shape:
            shown = ",".join(map(str, self.input_shape))
            raise UsageError("input_shape", shown, "inputs are given with their shapes", "leave out one of them")
        kind = torch.int64 if layout.whole else torch.float32
        encoding = {"kind": "arrays", KEY: layout.described()}
        return _without_samples((layout.size,), self._targets(), encoding, kind)

    def _targets(self) -> Targets:
        """Return what targets are, by the parameters."""
        measured = self.target_type == "float32"
        if measured and self.classes:
            raise UsageError("target_type", "float32", "measurements have no classes", "leave out one of them")
        if any(length < 1 for length in self.target_shape):
            shown = ",".join(map(str, self.target_shape))
            raise UsageError("target_shape", shown, "a length is below 1", "give such as 224,224")
        shape = self.target_shape if self.target_shape != (1,) else ()
        if self.target_names and (len(shape) > 1 or len(self.target_names) != math.prod(shape)):
            shown, problem = ",".join(self.target_names), f"a target has shape {list(shape)}"
            raise UsageError("target_names", shown, problem, "give one name for each value, with target_shape")
        if measured:
            return Targets(self.target_names, shape, "float32")
        names = self._names()
        if not shape:
            return Targets.of_classes(names)
        named = isinstance(self.classes, tuple) and len(self.classes) > 1 and len(shape) > 1
        return Targets(names if named else self.target_names, shape, self.target_type, len(names))

    def _names(self) -> tuple[str, ...]:
        classes = self.classes
        if isinstance(classes, tuple) and len(classes) == 1 and classes[0].isdigit():
            classes = int(classes[0])
        names = tuple(map(str, range(classes))) if isinstance(classes, int) else classes
        if len(names) < 2 or len(set(names)) < len(names):
            problem = "training needs two or more classes with distinct names"
            shown = str(classes) if isinstance(classes, int) else ",".join(classes) or "none"
            remedy = "give e.g. healthy,ill or a number; for measurements, target_type=float32"
            raise UsageError("classes", shown, problem, remedy)
        return names


def _without_samples(
    shape: tuple[int, ...],
    targets: Targets,
    encoding: dict[str, Any] | None = None,
    kind: torch.dtype = torch.float32,
) -> Dataset:
    none = Samples(torch.zeros(0, *shape, dtype=kind), torch.zeros(0, *targets.shape, dtype=targets.torch_dtype))
    return Dataset("sites", none, none, targets=targets, encoding=encoding or {})
