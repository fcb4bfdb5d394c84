"""Read TOML files from untrusted sources: bounded in time and memory, with uniform errors."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from sglr.core.errors import NotRead, UsageError
from sglr.storage.files import read_if_there

MOST_TOML = 1 << 22
"""Most bytes of a file: parsing a megabyte takes a second."""

MOST_DOTS = 300
"""Most dots in a line: time and memory grow with the square of a key's parts."""


def parse_toml(content: bytes) -> dict[str, Any]:
    """Parse a TOML text.

    Raises
    ------
    tomllib.TOMLDecodeError
        If it is not TOML, or nested too deeply.
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
    """Return the content of a TOML file; None if there is no such file.

    Parameters
    ----------
    path
        The file, of `MOST_TOML` bytes at most.
    field
        Its name in messages.

    Raises
    ------
    UsageError
        If it can't be read, with the operating system's cause, or is not TOML.
    """
    try:
        content = read_if_there(path, MOST_TOML)
        return None if content is None else parse_toml(content)
    except (NotRead, UnicodeDecodeError) as error:
        problem = f"cannot be read ({_cause_of(error)})"
        raise UsageError(field, path, problem, "give a readable TOML file") from error
    except (ValueError, RecursionError) as error:  # also for too many digits or brackets
        raise UsageError(field, path, f"is not TOML ({error})", "correct that line") from error


def _cause_of(error: Exception) -> object:
    return getattr(error.__cause__, "strerror", None) or error
