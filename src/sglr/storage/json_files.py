"""Read JSON files from untrusted sources: bounded in size, and every kind of invalid content is a ValueError."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from sglr.storage.files import MOST_BYTES, read_if_there

_HALF_CHARACTER = re.compile(rb"\\u[dD][89a-fA-F]")

WRONG = (ValueError, KeyError, TypeError, AttributeError, IndexError, ArithmeticError, RecursionError)
"""Errors that code may raise when a file's content is not what sglr writes."""


def parse(content: str | bytes) -> Any:
    """Parse a JSON text.

    Raises
    ------
    ValueError
        If it is not JSON, is nested too deeply, or contains lone surrogates, which can't be printed.
    """
    try:
        found = json.loads(content)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if _HALF_CHARACTER.search(content if isinstance(content, bytes) else content.encode()):
        try:
            json.dumps(found, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise ValueError("it contains a lone surrogate") from None
    return found


def read_json(path: Path, most: int = MOST_BYTES) -> Any:
    """Return the content of a JSON file; None if there is no such file.

    Raises
    ------
    NotRead
        If it can't be read, or has more than ``most`` bytes.
    ValueError
        If it is damaged; see `parse`.
    """
    content = read_if_there(path, most)
    return None if content is None else parse(content)


def read_object(path: Path, most: int = MOST_BYTES) -> dict[str, Any] | None:
    """Return the object in a JSON file; None if there is no such file.

    Raises
    ------
    NotRead, ValueError
        As for `read_json`, and if the content is not an object.
    """
    found = read_json(path, most)
    if found is not None and not isinstance(found, dict):
        raise ValueError("it is not an object")
    return found
