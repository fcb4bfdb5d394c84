"""Nests of values: tuples, lists, dicts and dataclasses, taken apart and put together again."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Nest:
    """How values are nested.

    Parameters
    ----------
    kind
        Type of the outermost container; None for a value that is none.
    keys
        Names or numbers of what it holds.
    parts
        How each of these is nested.
    """

    kind: type | None = None
    keys: tuple[Any, ...] = ()
    parts: tuple[Nest, ...] = ()

    @classmethod
    def of(cls, value: Any) -> Nest:
        """Return how ``value`` is nested."""
        held = held_by(value)
        if held is None:
            return cls()
        return cls(type(value), tuple(held), tuple(cls.of(part) for part in held.values()))

    def names(self, before: str = "") -> list[str]:
        """Return the place of each value, such as ``"[0]['mask']"``."""
        if self.kind is None:
            return [before]
        each = zip(self.keys, self.parts, strict=True)
        return [name for key, part in each for name in part.names(f"{before}[{key!r}]")]

    def filled(self, leaves: Iterator[Any]) -> Any:
        """Return a nest of such a kind with the next values of ``leaves``."""
        if self.kind is None:
            return next(leaves)
        values = [part.filled(leaves) for part in self.parts]
        if issubclass(self.kind, (tuple, list)):
            return self.kind(*values) if hasattr(self.kind, "_fields") else self.kind(values)
        named = dict(zip(self.keys, values, strict=True))
        kind: Callable[..., Any] = self.kind
        return kind(**named) if dataclasses.is_dataclass(kind) else kind(named)


def held_by(value: Any) -> Mapping[Any, Any] | None:
    """Return what a tuple, list, dict or dataclass holds, by name or number; None for anything else."""
    if isinstance(value, Mapping):
        return value
    if isinstance(value, (tuple, list)):
        return dict(enumerate(value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value) if field.init}
    return None


def leaves_of(value: Any) -> list[Any]:
    """Return the values of a nest, in order."""
    held = held_by(value)
    return [value] if held is None else [leaf for part in held.values() for leaf in leaves_of(part)]
