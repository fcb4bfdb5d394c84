"""Parts of a run's description as a client reads them: shapes, targets and cuts, refused if they are beyond bounds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import nn

from sglr.core.task import Targets
from sglr.engines.remote.segment_hash import frozen_hash, segment_hash, shape_at_cut
from sglr.engines.remote.wire.frames import MOST_RANK, shown

MOST_TEXT, MOST_CLASSES, MOST_VALUES = 200, 1 << 20, 1 << 26
"""Most characters of a text, classes and values of one sample that a client accepts in a description."""

MOST_CUTS = 1000
"""Cuts of one run."""


@dataclass(frozen=True)
class CutEnd:
    """The client's end of a cut.

    Parameters
    ----------
    cut_shape
        Shape of one sample's smashed data.
    segment
        Hash of the client segment's code and shapes.
    frozen
        SHA-256 of its frozen weights; empty if it has none.
    """

    cut_shape: tuple[int, ...]
    segment: str
    frozen: str

    @classmethod
    def of(cls, segment: nn.Module, inputs: tuple[int, ...], dtype: torch.dtype) -> Self:
        """Return that of a segment for inputs of a shape and type."""
        cut = shape_at_cut(segment, inputs, dtype)
        return cls(cut, segment_hash(segment, inputs, cut), frozen_hash(segment))


class MalformedFieldError(ValueError):
    """A field of a description has another type, or a larger value, than any server writes."""

    def __init__(self, name: str, problem: str = "") -> None:
        self.problem = problem
        super().__init__(f"malformed field: {name}, {problem}" if problem else f"malformed field: {name}")


def shape_of(name: str, found: Any) -> tuple[int, ...]:
    """Return a shape that a description has in a field, refused if it has too many values."""
    shape = tuple(found)
    if len(shape) > MOST_RANK or any(type(size) is not int or size < 1 for size in shape):
        raise MalformedFieldError(name)
    # The client computes one sample of it before it has compared it with its own data.
    if math.prod(shape) > MOST_VALUES:
        raise MalformedFieldError(name, f"more than {MOST_VALUES} values")
    return shape


def cuts_of(places: Any, ends: Any, clients: int) -> dict[str, Any]:
    """Return the fields that tell of several cuts."""
    if not (isinstance(places, list) and isinstance(ends, list) and len(ends) <= MOST_CUTS):
        raise MalformedFieldError("ends")
    for end in ends:
        for name in ("segment", "frozen"):
            if not (isinstance(end[name], str) and len(end[name]) <= MOST_TEXT and end[name].isprintable()):
                raise MalformedFieldError("ends")
    right = len(places) == (clients if ends else 0)
    if not right or not all(type(place) is int and 0 <= place < len(ends) for place in places):
        raise MalformedFieldError("places")
    read = [CutEnd(shape_of("ends", end["cut_shape"]), end["segment"], end["frozen"]) for end in ends]
    return {"places": tuple(places), "ends": tuple(read)}


def targets_of(found: Mapping[str, Any]) -> Targets:
    """Return what a description tells of the targets."""
    names, classes = found["names"], found["classes"]
    if not isinstance(names, list) or type(classes) is not int or classes < 0:
        raise MalformedFieldError("targets")
    if max(len(names), classes) > MOST_CLASSES:
        raise MalformedFieldError("targets", f"more than {MOST_CLASSES} classes")
    if found["dtype"] not in ("int64", "uint8", "float32") or (found["dtype"] == "float32") != (classes == 0):
        raise MalformedFieldError("targets", "a type that does not fit the classes")
    shape = shape_of("targets", found["shape"])
    targets = Targets(tuple(shown(str(name), MOST_TEXT) for name in names), shape, found["dtype"], classes)
    if targets.are_classes and len(names) != classes:
        raise MalformedFieldError("targets", f"{len(names)} names of {classes} classes")
    return targets
