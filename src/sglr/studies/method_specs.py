"""The methods of a comparison as they are written: names, names with parameters, or objects."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sglr.core.errors import UsageError
from sglr.core.registry import METHODS
from sglr.core.spec import Spec
from sglr.runs.config import Experiment, part_fields

if TYPE_CHECKING:
    from sglr.assembly.parts import PartOverrides
    from sglr.core.method import Method


def parse_methods(methods: Iterable[str | Method]) -> list[str | Method]:
    """Split lists of methods into single methods.

    A comma separates methods, except where ``key=value`` follows it, which belongs to the method before:
    ``"psl,sglr:phi=0.5,alpha=1,sfl"`` are three.
    """
    found: list[str | Method] = []
    for item in methods:
        if not isinstance(item, str):
            found.append(item)
            continue
        for word in filter(None, (part.strip() for part in item.split(","))):
            last = found[-1] if found else None
            if "=" in word and ":" not in word.partition("=")[0] and isinstance(last, str):
                found[-1] = f"{last}{',' if ':' in last else ':'}{word}"
            else:
                found += METHODS.names() if word == "all" else [word]
    if not found:
        raise UsageError("methods", "", "is empty", f"give some of {', '.join(METHODS.names())}, or all")
    return found


@dataclass(frozen=True)
class Variant:
    """A method with the parameters that were given with it.

    Parameters
    ----------
    method
        Its name, or the object.
    label
        What tells it from others, such as ``"sglr (phi=0.5)"``.
    known
        The names of its parameters; none for an object, which has all of them set.
    given
        The parameters that were given with it, as text.
    """

    method: str | Method
    label: str
    known: frozenset[str]
    given: Mapping[str, str]

    @classmethod
    def of(cls, method: str | Method) -> Variant:
        """Take a method, or a text such as ``"sglr:phi=0.5,alpha=1"``."""
        if not isinstance(method, str):
            return cls(method, _object_label(method), frozenset(), {})
        spec = Spec.parse("methods", method)
        name, given = spec.name, spec.texts()
        shown = ", ".join(f"{key}={value}" for key, value in given.items())
        label = f"{name} ({shown})" if shown else name
        return cls(name, label, frozenset(part_fields("method", name)), given)

    def describe(self, settings: Mapping[str, Any]) -> tuple[Experiment, PartOverrides]:
        """Return the experiment that ``settings`` make with this method, its parameters checked."""
        from sglr.assembly.method import build_method
        from sglr.experiment.describe import describe

        experiment, given = describe(self.method, **{**settings, **self.given})
        if given.method is None:
            build_method(experiment)
        return experiment, given


def _object_label(method: Method) -> str:
    fields = [field for field in dataclasses.fields(method) if getattr(method, field.name) != field.default]
    shown = ", ".join(f"{field.name}={getattr(method, field.name)}" for field in fields)
    name = next((name for name in METHODS.names() if METHODS.load(name) is type(method)), type(method).__name__)
    return f"{name} ({shown})" if shown else name
