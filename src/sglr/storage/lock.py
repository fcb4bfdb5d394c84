"""Allow one process at a time in a folder, by a lock that ends with its process in any case.

It is an ``flock`` of a file in the folder, which the kernel releases when the process dies; on NFS it works between
machines. The file names the holder, only for messages. Child processes don't inherit it: for new
programs the descriptor is closed, and forked processes release it first.
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
"""The file's name; it exists only while a process works in the folder, or after one was killed."""

LOOK_SECONDS = 0.1
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EINVAL)
_MOST_BYTES = 300
_TRIES, _TRY_SECONDS = 3, 0.002
_held: set[int] = set()


class Held(UsageError):  # noqa: N818 - says what is the matter
    """Another process works in the folder."""


@contextmanager
def locked(folder: Path, field: str = "out") -> Iterator[None]:
    """Hold the lock of an existing folder.

    Parameters
    ----------
    folder
        The folder.
    field
        The option that names the folder, for messages.

    Raises
    ------
    Held
        If another process works in it; there is no waiting.
    UsageError
        If the folder can't be written to.
    """
    handle = _taken(folder, field)
    try:
        yield
    finally:
        _release(folder / LOCK, handle)


def wait_until_free(folder: Path, seconds: float, stop: Callable[[], bool] = lambda: False) -> None:
    """Wait, at most this many seconds, for a process to release a folder, which need not exist."""
    until = time.monotonic() + seconds
    while (folder / LOCK).exists() and not stop() and time.monotonic() < until:
        try:
            with locked(folder):
                return
        except Held:
            time.sleep(LOOK_SECONDS)


def is_locked(folder: Path) -> bool:
    """Return whether a process works in ``folder``; False where that can't be known."""
    if sys.platform == "win32":
        return False
    import fcntl

    try:
        handle = os.open(folder / LOCK, os.O_RDONLY | os.O_CLOEXEC | NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in _NO_LOCKS
    finally:
        os.close(handle)
    return False


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

    for left in reversed(range(_TRIES)):
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _NO_LOCKS:
                log.warning("%s: the file system has no locks; make sure that no other process works in it", folder)
                return
            if not left:
                problem = f"{_holder(handle)} works in this folder"
                remedy = "wait until it ends or stop it, or choose another folder"
                raise Held(field, folder, problem, remedy) from error
            time.sleep(_TRY_SECONDS)  # who asks `is_locked` holds it for some microseconds
        else:
            return


def _is_still(path: Path, handle: int) -> bool:
    """Return whether the opened file still has that name, and was not removed by its last holder."""
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
    if handle not in _held:  # in a process forked in the meantime
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
