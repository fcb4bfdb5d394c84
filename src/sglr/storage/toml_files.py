"""TOML of files, which a stranger may have written: bounded in time and memory, and what is wrong told in one way."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from sglr.core.errors import NotRead, UsageError
from sglr.storage.files import read_if_there

MOST_TOML = 1 << 22
"""Bytes of a file, at most: a megabyte takes a second."""

MOST_DOTS = 300
"""Dots in a line, at most: time and memory grow with the square of the parts of a key."""


def parse_toml(content: bytes) -> dict[str, Any]:
    """Return what a TOML text holds.

    Raises
    ------
    tomllib.TOMLDecodeError
        If it is none, or nested without end.
    UnicodeDecodeError
        If it is not UTF-8.
    """
    for number, line in enumerate(content.split(b"\n"), 1):
        if line.count(b".") > MOST_DOTS:
            raise tomllib.TOMLDecodeError(f"more than {MOST_DOTS} dots (at line {number})")
    try:
        return tomllib.loads(content.decode())
    except RecursionError:
        raise tomllib.TOMLDecodeError("nested too deeply") from None


def read_toml_file(path: Path, field: str) -> dict[str, Any] | None:
    """Return what a TOML file holds; None if there is none.

    Parameters
    ----------
    path
        The file, of `MOST_TOML` bytes at most.
    field
        What a message calls it.

    Raises
    ------
    UsageError
        If it can't be read, with the cause that the operating system gave, or is no TOML.
    """
    try:
        content = read_if_there(path, MOST_TOML)
        return None if content is None else parse_toml(content)
    except (NotRead, UnicodeDecodeError) as error:
        problem = f"cannot be read ({_cause_of(error)})"
        raise UsageError(field, path, problem, "give a readable TOML file") from error
    except (ValueError, RecursionError) as error:  # also of too many digits, or brackets
        raise UsageError(field, path, f"is not TOML ({error})", "correct that line") from error


def _cause_of(error: Exception) -> object:
    return getattr(error.__cause__, "strerror", None) or error
