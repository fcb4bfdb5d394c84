"""Private files that are written whole or not at all, and folders of facts that are only ever added to.

What is read here decides who is trusted, so it counts only if nobody else could have put it there: folders and files
belong to who reads them, or to root.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from stat import S_ISREG
from typing import Generic, TypeVar

from sglr.core.errors import NotRead, SglrError
from sglr.storage.files import NOFOLLOW, create, not_read, refuse_foreign, write_bytes, written_whole

_log = logging.getLogger(__name__)
# File systems stamp a folder by a clock that ticks every few milliseconds; a second is ample.
_SETTLED_NS = 1_000_000_000

Fact = TypeVar("Fact")


class Foreign(SglrError):  # noqa: N818 - says what it is
    """A file belongs to another user, who may have planted it."""


def private_folder(path: Path) -> None:
    """Create a folder that only its owner may enter, or close an existing one to others.

    Raises
    ------
    OSError
        If that can't be done.
    """
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if os.fstat(folder).st_mode & 0o077:
            os.fchmod(folder, 0o700)
    finally:
        os.close(folder)


def own_folder(path: Path) -> None:
    """Do as `private_folder`, and refuse a folder of another user, or behind another user's symlink.

    Raises
    ------
    UsageError
        If it is another user's.
    OSError
        If it can't be made.
    """
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    refuse_foreign(path, "folder")
    private_folder(path)


@contextlib.contextmanager
def as_owner(path: Path) -> Iterator[None]:
    """Let root act as the owner of a folder: what it writes there is the owner's, and it can do no more than that.

    Others act as themselves. It concerns the whole process: for commands that do nothing else meanwhile.
    """
    owner = path.lstat()
    if os.geteuid() != 0 or owner.st_uid == 0:
        yield
        return
    group, groups = os.getegid(), os.getgroups()
    os.setgroups([owner.st_gid])
    os.setegid(owner.st_gid)
    os.seteuid(owner.st_uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(group)
        os.setgroups(groups)


def write_private(path: Path, content: bytes) -> None:
    """Write or replace a file of mode 0600, atomically and durably."""
    write_bytes(path, content, 0o600)


def write_once(path: Path, content: bytes) -> bool:
    """Write a file of mode 0600 if there is none of that name; of several writers exactly one succeeds.

    Returns
    -------
    bool
        Whether this call wrote it.
    """
    try:
        with written_whole(path, os.link) as partial, create(partial, 0o600) as file:
            file.write(content)
    except FileExistsError:
        return False
    return True


def read_private(path: Path) -> bytes:
    """Read a file with a key in it, and close it to others if a copy or a backup has opened it.

    Raises
    ------
    Foreign
        If it belongs to another user, or is not a regular file.
    NotRead
        If it can't be read; a symlink can't.
    """
    try:
        with _open_own(path) as file:
            if os.fstat(file).st_mode & 0o077:
                _log.warning("%s could be read by others; its mode is 0600 now. Was a key copied?", path.name)
                os.fchmod(file, 0o600)
            return _content(file)
    except OSError as error:
        raise not_read(path, error) from error


@contextlib.contextmanager
def _open_own(path: Path) -> Iterator[int]:
    # A planted pipe would be waited for.
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | NOFOLLOW)
    try:
        found = os.fstat(file)
        if found.st_uid not in (0, os.geteuid()) or not S_ISREG(found.st_mode):
            problem = f"belongs to another user ({found.st_uid}) or is not a regular file"
            raise Foreign(f"{path} {problem}, so it may have been planted: it does not count; delete it")
        yield file
    finally:
        os.close(file)


def _content(file: int) -> bytes:
    return b"".join(iter(lambda: os.read(file, 1 << 20), b""))


class Facts(Generic[Fact]):
    """A folder of small files that never change once they are there, seen by several processes.

    A damaged fact, or another user's, is left out, and the log says so. One that can't be read is an error where it is
    asked for, and is looked at again the next time.

    Parameters
    ----------
    folder
        Where they are; created if missing.
    suffix
        How their names end; the part before it is the fact's key.
    read
        Turns a file's content into the fact; raises ``ValueError`` or ``KeyError`` if it can't.
    always
        What a fact is whose file is there and can't be read, whatever the reason; None if there is no such thing.
    """

    def __init__(self, folder: Path, suffix: str, read: Callable[[bytes], Fact], always: Fact | None = None) -> None:
        own_folder(folder)
        self._folder, self._suffix, self._read, self._always = folder, suffix, read, always
        self._known: dict[str, Fact] = {}
        self._unread: dict[str, NotRead] = {}
        self._stamp: int | None = None
        self._lock = threading.Lock()

    def all(self) -> Mapping[str, Fact]:
        """Return all facts by key, those that other processes have added since included.

        Raises
        ------
        NotRead
            If the folder can't be read.
        """
        with self._lock:
            try:
                stamp = self._folder.stat().st_mtime_ns
                if stamp != self._stamp or self._unread:
                    # A folder that changed a moment ago may change again under the same stamp.
                    self._stamp = stamp if time.time_ns() - stamp > _SETTLED_NS else None
                    self._scan()
            except OSError as error:
                self._stamp = None
                raise not_read(self._folder, error) from error
            return self._known

    def get(self, key: str) -> Fact | None:
        """Return a fact; None if there is none.

        Raises
        ------
        NotRead
            If it, or the folder, can't be read.
        """
        known = self.all()
        if key in self._unread:
            raise self._unread[key]
        return known.get(key)

    def require_all(self) -> Mapping[str, Fact]:
        """Return all facts, as `all`; NotRead if one of them can't be read."""
        known = self.all()
        for error in self._unread.values():
            raise error
        return known

    def add(self, key: str, content: bytes) -> bool:
        """Add a fact, unless there is one of that key; say whether this call added it."""
        return write_once(self._folder / f"{key}{self._suffix}", content)

    def _scan(self) -> None:
        # Names only: a thousand Path objects at every change would cost ten times as much.
        names = os.listdir(self._folder)  # noqa: PTH208
        keys = {name[: -len(self._suffix)] for name in names if name.endswith(self._suffix) and name[0] != "."}
        if keys == self._known.keys():
            self._unread = {}
            return
        # New mappings each time: who iterates over the old ones is not disturbed.
        known = {key: fact for key, fact in self._known.items() if key in keys}
        unread: dict[str, NotRead] = {}
        for key in sorted(keys - known.keys()):
            self._look(key, known, unread)
        self._known, self._unread = known, unread

    def _look(self, key: str, known: dict[str, Fact], unread: dict[str, NotRead]) -> None:
        """Read one fact, and put it where it belongs."""
        path = self._folder / f"{key}{self._suffix}"
        try:
            with _open_own(path) as file:
                known[key] = self._read(_content(file))
        except (ValueError, KeyError, Foreign, OSError) as error:
            if self._always is not None:
                known[key] = self._always
            elif isinstance(error, OSError):
                unread[key] = not_read(path, error)
            if key not in self._unread:
                _log.warning("%s: it can't be read (%s)", path, error)
