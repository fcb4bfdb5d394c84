"""Private files that are written whole or not at all, and folders of facts that are only ever added to."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Generic, TypeVar

_log = logging.getLogger(__name__)
# File systems stamp a folder by a clock that ticks every few milliseconds; a second is ample.
_SETTLED_NS = 1_000_000_000

Fact = TypeVar("Fact")


def private_folder(path: Path) -> None:
    """Create a folder that only its owner may enter, or close an existing one to others."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.chmod(0o700)


def write_private(path: Path, content: bytes) -> None:
    """Write or replace a file of mode 0600, atomically and durably."""
    with _written(path, content) as partial:
        partial.replace(path)


def write_once(path: Path, content: bytes) -> bool:
    """Write a file of mode 0600 if there is none of that name; of several writers exactly one succeeds.

    Returns
    -------
    bool
        Whether this call wrote it.
    """
    with _written(path, content) as partial:
        try:
            os.link(partial, path)
        except FileExistsError:
            return False
    return True


def read_private(path: Path) -> bytes:
    """Read a file with a key in it, and close it to others if a copy or a backup has opened it."""
    if path.stat().st_mode & 0o077:
        _log.warning("%s could be read by others; its mode is 0600 now. Was a key copied?", path.name)
        path.chmod(0o600)
    return path.read_bytes()


@contextlib.contextmanager
def _written(path: Path, content: bytes) -> Iterator[Path]:
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        yield partial
    finally:
        partial.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


class Facts(Generic[Fact]):
    """A folder of small files that never change once they are there, seen by several processes.

    A fact that can't be read is left out, and the log says so.

    Parameters
    ----------
    folder
        Where they are; created if missing.
    suffix
        How their names end; the part before it is the fact's key.
    read
        Turns a file's content into the fact; raises ``ValueError`` or ``KeyError`` if it can't.
    """

    def __init__(self, folder: Path, suffix: str, read: Callable[[bytes], Fact]) -> None:
        private_folder(folder)
        self._folder, self._suffix, self._read = folder, suffix, read
        self._known: dict[str, Fact] = {}
        self._stamp: int | None = None
        self._lock = threading.Lock()

    def all(self) -> Mapping[str, Fact]:
        """Return all facts by key, those that other processes have added since included."""
        with self._lock:
            stamp = self._folder.stat().st_mtime_ns
            if stamp != self._stamp:
                # A folder that changed a moment ago may change again under the same stamp.
                self._stamp = stamp if time.time_ns() - stamp > _SETTLED_NS else None
                self._scan()
            return self._known

    def add(self, key: str, content: bytes) -> bool:
        """Add a fact, unless there is one of that key; say whether this call added it."""
        return write_once(self._folder / f"{key}{self._suffix}", content)

    def _scan(self) -> None:
        # Names only: a thousand Path objects at every change would cost ten times as much.
        names = os.listdir(self._folder)  # noqa: PTH208
        keys = {name[: -len(self._suffix)] for name in names if name.endswith(self._suffix) and name[0] != "."}
        if keys == self._known.keys():
            return
        # A new mapping each time: who iterates over the old one is not disturbed.
        known = {key: fact for key, fact in self._known.items() if key in keys}
        for key in sorted(keys - known.keys()):
            try:
                known[key] = self._read((self._folder / f"{key}{self._suffix}").read_bytes())
            except (ValueError, KeyError, OSError) as error:
                _log.warning("%s%s is left out: it can't be read (%s)", key, self._suffix, type(error).__name__)
        self._known = known
