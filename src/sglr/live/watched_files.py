"""Files that are read again only when they have changed: a page looks at them several times a second."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, TypeVar

from sglr.core.errors import NotRead
from sglr.runs.folder import MOST_LINE
from sglr.storage.files import read_if_there
from sglr.storage.json_files import parse, read_object

T = TypeVar("T")

Stamp = tuple[int, int, int] | None
"""What tells whether a file has changed: its number, size and time of change; None if there is none."""


def stamp(path: Path) -> Stamp:
    """Return what tells whether a file has changed."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


class WatchedFile(Generic[T]):
    """A file and what was read from it last.

    Parameters
    ----------
    path
        The file.
    read
        Reads it; what it can't read counts as ``missing``.
    missing
        What to take where there is no file, or it is damaged.
    """

    def __init__(self, path: Path, read: Callable[[Path], T | None], missing: T) -> None:
        self._path, self._read, self._missing = path, read, missing
        self._stamp: Stamp = None
        self._content = missing
        self.damaged = False

    def read(self) -> T:
        """Return its content."""
        found = stamp(self._path)
        if found != self._stamp:
            self._stamp, self.damaged = found, False
            try:
                content = self._read(self._path)
            except (NotRead, ValueError, OSError):
                content, self.damaged = None, True
            self._content = self._missing if content is None else content
        return self._content


def watched_object(path: Path) -> WatchedFile[dict[str, Any]]:
    """Return a JSON file with an object; empty where there is none."""
    return WatchedFile(path, read_object, {})


class WatchedRecords:
    """The records in ``metrics.jsonl``: what was added since it was read last is read alone.

    Parameters
    ----------
    path
        The file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp: Stamp = None
        self._end = 0
        self._records: list[dict[str, Any]] = []

    def read(self) -> list[dict[str, Any]]:
        """Return all whole records, up to the first that is damaged; a new list if there are more."""
        found = stamp(self._path)
        if found == self._stamp:
            return self._records
        replaced = found is None or self._stamp is None or found[0] != self._stamp[0] or found[1] < self._end
        self._stamp = found
        if replaced:
            self._records, self._end = [], 0
        if found is not None:
            self._read_on()
        return self._records

    def _read_on(self) -> None:
        try:
            content = self._added()
        except (NotRead, OSError):
            return
        more = []
        for line in content.splitlines(keepends=True):
            if not line.endswith(b"\n") or (record := _record(line)) is None:
                break
            more.append(record)
            self._end += len(line)
        self._records = [*self._records, *more]

    def _added(self) -> bytes:
        if self._end == 0:
            return read_if_there(self._path) or b""
        with self._path.open("rb") as file:
            file.seek(self._end)
            return os.read(file.fileno(), 1 << 24)


def _record(line: bytes) -> dict[str, Any] | None:
    try:
        found = parse(line) if len(line) <= MOST_LINE else None
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
