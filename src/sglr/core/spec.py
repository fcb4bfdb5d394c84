"""Specs: a name with options in one text, such as ``topk:0.1,feedback=true`` or ``sgd:momentum=0.9,betas=(0.9,0.99)``.

The form is ``name``, ``name:key=value,key=value``, or ``name:value`` where one option may go without its key; it comes
first then. Spaces around names, keys and values are ignored, as are empty options (a comma at the end); a hyphen in a
key is an underscore; a comma inside brackets belongs to the value. Values are checked by pydantic.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, get_args, get_origin, get_type_hints

from sglr.core.errors import UsageError, refuse_long, unknown

if TYPE_CHECKING:  # else imported where a value is checked: it takes a tenth of a second, and help needs no values
    from pydantic import TypeAdapter, ValidationError

_PLACEHOLDERS = {int: "int", float: "number", str: "text", bool: "true|false", Path: "path", tuple: "text,…"}


@dataclass(frozen=True)
class Option:
    """What is known about an option.

    Parameters
    ----------
    kind
        Its type annotation, by which pydantic reads and checks a value.
    about
        What it is, in a few words.
    """

    kind: Any
    about: str = ""


@dataclass(frozen=True)
class Spec:
    """A parsed spec.

    Parameters
    ----------
    field
        The setting that holds it, for messages.
    text
        The spec as it was written.
    name
        What it names.
    words
        The options as they were written, ``"key=value"`` each.
    """

    field: str
    text: str
    name: str
    words: tuple[str, ...]

    @classmethod
    def parse(cls, field: str, text: str) -> Self:
        """Read ``name:key=value,key=value``.

        Raises
        ------
        UsageError
            If it is longer than `sglr.core.errors.MOST_TEXT` characters.
        """
        refuse_long(field, text)
        name, _, listed = text.partition(":")
        return cls(field, text, name.strip(), _words(listed))

    @classmethod
    def parse_options(cls, field: str, text: str) -> Self:
        """Read ``key=value,key=value`` of a setting that has options and no name; raises what `parse` raises."""
        refuse_long(field, text)
        return cls(field, text, field, _words(text))

    def texts(self, first: str | None = None) -> dict[str, str]:
        """Return the options as they were written, by key.

        Parameters
        ----------
        first
            The option that may go without its key, if there is one.

        Raises
        ------
        UsageError
            If one is not ``key=value``, or is given twice.
        """
        found: dict[str, str] = {}
        for place, word in enumerate(self.words):
            key, equals, value = (part.strip() for part in word.partition("="))
            if not equals and (place > 0 or first is None):
                named = f"{self.name}:" if self.text.startswith(f"{self.name}:") else ""
                raise self._error(f"{word!r} is not key=value", f"write it like {named}key=value,key=value")
            key, value = (key.replace("-", "_"), value) if equals else (str(first), word)
            if key in found:
                raise self._error(f"option {key!r} is given twice", "give it once")
            found[key] = value
        return found

    @classmethod
    def choose(cls, field: str, text: str, kinds: Mapping[str, Mapping[str, Option]]) -> tuple[str, dict[str, Any]]:
        """Return which of ``kinds`` a text names, and its options' values; the first option may go without its key.

        Raises
        ------
        UsageError
            If it names none of them, or `options` raises it.
        """
        spec = cls.parse(field, text)
        if spec.name not in kinds:
            raise unknown(field, spec.name, kinds)
        known = kinds[spec.name]
        return spec.name, spec.options(known, first=next(iter(known), None))

    def options(self, known: Mapping[str, Option], first: str | None = None) -> dict[str, Any]:
        """Return the options' values by key.

        Parameters
        ----------
        known
            The options that there are, by key.
        first
            The one that may go without its key, if there is one.

        Raises
        ------
        UsageError
            If one is not ``key=value``, unknown (the nearest is suggested), given twice, or its value can't be read.
        """
        if self.words and not known:
            raise self._error(f"{self.name} has no options", f"write {self.name} alone")
        return {key: self._value(key, text, known) for key, text in self.texts(first).items()}

    def _value(self, key: str, text: str, known: Mapping[str, Option]) -> Any:
        if key not in known:
            near = get_close_matches(key, known, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}? " if near else ""
            remedy = f"{hint}options: {', '.join(_described(name, option) for name, option in known.items())}"
            raise self._error(f"unknown option {key!r} for {self.name}", remedy)
        from pydantic import ValidationError

        try:
            return read_value(known[key].kind, text)
        except ValidationError as error:
            problem = f"invalid value {text!r} for {key}: {problem_of(error)}"
            raise self._error(problem, f"give {_described(key, known[key])}") from error

    def _error(self, problem: str, remedy: str) -> UsageError:
        return UsageError(self.field, self.text, problem, remedy)


def options_of(part: type[Any]) -> dict[str, Option]:
    """Return the options of a part, a dataclass whose fields are its options, by name."""
    kinds = get_type_hints(part, include_extras=True)
    fields = [field for field in dataclasses.fields(part) if field.init]
    return {field.name: Option(kinds[field.name], str(field.metadata.get("help", ""))) for field in fields}


def name_in(spec: str) -> str:
    """Return the name in ``name:argument``."""
    return spec.partition(":")[0]


def read_value(kind: Any, given: Any) -> Any:
    """Return what was given as a value of a type; a text is read as `plain_value` says.

    Raises
    ------
    pydantic.ValidationError
        If it is not one; `problem_of` tells why.
    """
    return _adapter(kind).validate_python(plain_value(kind, given))


def plain_value(kind: Any, given: Any) -> Any:
    """Return None for the text ``none`` and a tuple for ``a,b`` where the type allows it, else ``given``."""
    kinds = alternatives(kind)
    if given == "none" and NoneType in kinds:
        return None
    if isinstance(given, str) and tuple in {get_origin(one) for one in kinds}:
        return tuple(filter(None, given.split(",")))
    return given


def alternatives(kind: Any) -> tuple[Any, ...]:
    """Return the members of a union; of any other type, itself."""
    is_union = get_origin(kind) not in (None, tuple, Literal, Annotated)
    return get_args(kind) if is_union else (kind,)


def placeholder(kind: Any) -> str:
    """Return what stands for a value of a type in a help text, such as ``<number>`` or ``auto|cpu``."""
    if get_origin(kind) is Literal:
        return "|".join(get_args(kind))
    kinds = [_bare(one) for one in alternatives(kind) if one is not NoneType]
    if float in kinds:
        return "<number>"
    return f"<{'|'.join(_PLACEHOLDERS.get(get_origin(one) or one, 'text') for one in reversed(kinds))}>"


def problem_of(error: ValidationError) -> str:
    """Return what pydantic found first, as it stands behind a colon."""
    message = error.errors()[0]["msg"].removeprefix("Value error, ")
    return message[:1].lower() + message[1:]


def _bare(kind: Any) -> Any:
    return get_args(kind)[0] if get_origin(kind) is Annotated else kind


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def _described(name: str, option: Option) -> str:
    about = f" ({option.about})" if option.about else ""
    return f"{name}{about}" if _bare(option.kind) is Any else f"{name}={placeholder(option.kind)}{about}"


def _words(listed: str) -> tuple[str, ...]:
    return tuple(filter(None, (word.strip() for word in _split(listed))))


def _split(listed: str) -> Iterator[str]:
    """Yield what is between commas that are in no brackets."""
    depth, start = 0, 0
    for place, sign in enumerate(listed):
        depth += (sign in "([{") - (sign in ")]}")
        if sign == "," and depth <= 0:
            yield listed[start:place]
            start = place + 1
    yield listed[start:]
