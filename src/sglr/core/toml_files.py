"""TOML of files that a stranger may have written: bounded in time and memory."""

from __future__ import annotations

import errno
import os
import tomllib
from pathlib import Path
from typing import Any

from sglr.core.files import read_if_there

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


def read_toml_file(path: Path) -> dict[str, Any]:
    """Return what a TOML file holds; errors are those of `parse_toml`.

    Raises
    ------
    FileNotFoundError
        If there is none.
    NotRead
        If it can't be read, or has more than `MOST_TOML` bytes.
    """
    content = read_if_there(path, MOST_TOML)
    if content is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    return parse_toml(content)


def cause_of(error: Exception) -> object:
    """Return why a file can't be read, as the operating system said it, or the error."""
    return getattr(error, "strerror", None) or getattr(error.__cause__, "strerror", None) or error
