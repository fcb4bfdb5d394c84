"""JSON of files that a stranger may have written: bounded, and wrong in one way only, by ValueError."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from sglr.storage.files import MOST_BYTES, read_if_there

_HALF_CHARACTER = re.compile(rb"\\u[dD][89a-fA-F]")

WRONG = (ValueError, KeyError, TypeError, AttributeError, IndexError, ArithmeticError, RecursionError)
"""What code raises that works on the content of a file which is not what sglr writes."""


def parse(content: str | bytes) -> Any:
    """Return what a JSON text holds.

    Raises
    ------
    ValueError
        If it is none, is nested without end, or has halves of characters, which can't be shown.
    """
    try:
        found = json.loads(content)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if _HALF_CHARACTER.search(content if isinstance(content, bytes) else content.encode()):
        try:
            json.dumps(found, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise ValueError("it has half a character") from None
    return found


def read_json(path: Path, most: int = MOST_BYTES) -> Any:
    """Return what a JSON file holds; None if there is none.

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
    """Return the object that a JSON file holds; None if there is no such file.

    Raises
    ------
    NotRead, ValueError
        As for `read_json`, and if it holds anything else.
    """
    found = read_json(path, most)
    if found is not None and not isinstance(found, dict):
        raise ValueError("it holds no object")
    return found
