"""The methods of a comparison as they are written: names, names with parameters, or objects."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sglr.core.errors import UsageError
from sglr.core.registry import METHODS
from sglr.core.spec import Spec
from sglr.runs.config import SETTINGS, Experiment, named, part_fields

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


def spec_of(table: Mapping[str, Any]) -> str:
    """Write a table of a method and what goes with it as a spec.

    Parameters
    ----------
    table
        ``method``, its name, and its parameters and settings: ``{"method": "sglr", "phi": 1.0, "init": "common"}`` is
        ``"sglr:phi=1.0,init=common"``.

    Raises
    ------
    UsageError
        If it names no method, or a value is a list or a table.
    """
    given = {str(key).replace("-", "_"): value for key, value in table.items()}
    name = given.pop("method", None)
    if not isinstance(name, str) or ":" in name:
        raise UsageError("method", name, "is no method's name", 'write it like {method = "sglr", phi = 1.0}')
    for key, value in given.items():
        if isinstance(value, list | tuple | Mapping):
            raise UsageError(key, value, "is not one value", "write a table for each value")
    return _written(name, {key: _text(value) for key, value in given.items()})


def _text(value: object) -> str:
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


@dataclass(frozen=True)
class Variant:
    """A method with the parameters that were given with it.

    Parameters
    ----------
    method
        Its name, or the object.
    label
        What tells it from others, as it was written, such as ``"sglr:phi=0.5"``.
    known
        The names of its parameters; none for an object, which has all of them set.
    given
        The parameters, and the settings that are axes of methods, that were given with it, as text.
    """

    method: str | Method
    label: str
    known: frozenset[str]
    given: Mapping[str, str]

    @classmethod
    def of(cls, method: str | Method) -> Variant:
        """Take a method, or a text such as ``"sglr:phi=0.5,init=independent"``.

        Raises
        ------
        UsageError
            If it can't be read, there is no such method, or a setting that is no axis of methods is written with it.
        """
        if not isinstance(method, str):
            return cls(method, _object_label(method), frozenset(), {})
        spec = Spec.parse("methods", method)
        name, given = spec.name, spec.texts()
        known = frozenset(part_fields("method", name))
        _refuse_foreign(method, given.keys() - known)
        return cls(name, _written(name, given), known, given)

    def describe(self, settings: Mapping[str, Any]) -> tuple[Experiment, PartOverrides]:
        """Return the experiment that ``settings`` make with this method, its parameters checked."""
        from sglr.assembly.method import build_method
        from sglr.experiment.describe import describe

        experiment, given = describe(self.method, **{**settings, **self.given})
        if given.method is None:
            build_method(experiment)
        return experiment, given


def _object_label(method: Method) -> str:
    values = {field.name: (getattr(method, field.name), field.default) for field in dataclasses.fields(method)}
    name = next((name for name in METHODS.names() if METHODS.load(name) is type(method)), type(method).__name__)
    return _written(name, {key: value for key, (value, default) in values.items() if value != default})


def _written(name: str, given: Mapping[str, object]) -> str:
    shown = ",".join(f"{key}={value}" for key, value in given.items())
    return f"{name}:{shown}" if shown else name


def _refuse_foreign(text: str, keys: Set[str]) -> None:
    """Refuse settings that are no axis of methods; names that are no settings are told where settings are read."""
    axes = named(axis=True)
    for key in sorted(keys & SETTINGS - axes):
        problem = f"{key} is a setting of the whole run"
        remedy = f"give it as a setting; with a method go its own parameters and {', '.join(sorted(axes))}"
        raise UsageError("methods", text, problem, remedy)
