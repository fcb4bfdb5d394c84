"""One process at a time in a folder: a lock that ends with its process, however that ends.

It is an ``flock`` of a file in the folder, which the kernel drops when the process dies; over NFS it holds between
machines. The file names who holds it, for messages alone. Processes that are started don't inherit it: those with a
program of their own because descriptors are closed there, forked ones because they let go of it first.
"""

from __future__ import annotations

import errno
import logging
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sglr.core.errors import UsageError, printable
from sglr.storage.files import NOFOLLOW

log = logging.getLogger(__name__)

LOCK = ".lock"
"""The file's name; it is there only while a process works in the folder, or after one was killed."""

LOOK_SECONDS = 0.1
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EINVAL)
_MOST_BYTES = 300
_held: set[int] = set()


class Held(UsageError):  # noqa: N818 - says what is the matter
    """Another process works in the folder."""


@contextmanager
def locked(folder: Path, field: str = "out") -> Iterator[None]:
    """Keep other processes from a folder, which must be there, for as long as this takes.

    Parameters
    ----------
    folder
        The folder.
    field
        What a message calls it: the option that names it.

    Raises
    ------
    Held
        If another process works in it, at once.
    UsageError
        If nothing can be written there.
    """
    handle = _taken(folder, field)
    try:
        yield
    finally:
        _release(folder / LOCK, handle)


def wait_until_free(folder: Path, seconds: float, stop: Callable[[], bool] = lambda: False) -> None:
    """Wait, but not longer than so many seconds, for a process to leave a folder that may not be there."""
    until = time.monotonic() + seconds
    while (folder / LOCK).exists() and not stop() and time.monotonic() < until:
        try:
            with locked(folder):
                return
        except Held:
            time.sleep(LOOK_SECONDS)


def _taken(folder: Path, field: str) -> int:
    path = folder / LOCK
    while True:
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | NOFOLLOW, 0o644)
        except OSError as error:
            raise UsageError(field, folder, f"cannot be written ({error.strerror})", "choose another folder") from error
        try:
            _flock(handle, folder, field)
            if _is_still(path, handle):
                _sign(handle)
                _held.add(handle)
                return handle
        finally:
            if handle not in _held:
                os.close(handle)


def _flock(handle: int, folder: Path, field: str) -> None:
    if sys.platform == "win32":
        return
    import fcntl

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _NO_LOCKS:
            log.warning("%s: the file system has no locks; see to it that no other process works in it", folder)
            return
        problem = f"{_holder(handle)} works in this folder"
        raise Held(field, folder, problem, "wait for its end or stop it, or choose another folder") from error


def _is_still(path: Path, handle: int) -> bool:
    """Say whether the file that was opened is the one of that name, and not one that its last holder has removed."""
    try:
        return os.path.samestat(os.fstat(handle), path.lstat())
    except FileNotFoundError:
        return False


def _sign(handle: int) -> None:
    os.ftruncate(handle, 0)
    os.write(handle, f"process {os.getpid()} on {platform.node()}".encode())


def _holder(handle: int) -> str:
    shown = printable(os.pread(handle, _MOST_BYTES, 0).decode(errors="replace"), instead="")
    return shown if shown.startswith("process ") else "another process"


def _release(path: Path, handle: int) -> None:
    if handle not in _held:  # in a process that was forked meanwhile
        return
    path.unlink(missing_ok=True)
    _held.discard(handle)
    os.close(handle)


def _let_go() -> None:
    for handle in _held:
        os.close(handle)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)
