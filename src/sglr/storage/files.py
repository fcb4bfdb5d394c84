"""Files: read as they are or with the operating system's cause, written whole or not at all.

Whether a file can't be read or isn't there decides what may be deleted, so the two are never confused. What is written
gets a new name first that nobody can foresee, so neither a planted symlink nor another process is in the way. Then it
is synced, renamed, and its folder synced, so that it outlasts a power failure.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import IO

from sglr.core.errors import NotRead, UsageError

NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
"""The flag with which a symlink is not opened, where there is one."""

MOST_BYTES = 1 << 26
"""Bytes of a file of settings, records or figures, at most."""

_BLOCK = 1 << 22
_NO_WAITING = getattr(os, "O_NONBLOCK", 0)  # to open a pipe that nobody writes to would take for ever
_NO_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EACCES, errno.EPERM)
# The second is what safetensors leaves when it is killed.
_PARTIAL = re.compile(r"\..+\.partial|\.tmp\w{6}")


def not_read(path: Path, error: OSError | RuntimeError) -> NotRead:
    """Return the error for a file that can't be read, with the cause that the operating system gave."""
    cause = (error.strerror if isinstance(error, OSError) else None) or error
    return NotRead(f"{path}: cannot be read ({cause}); nothing was deleted, try again when it can be read")


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Tell that there is no such file from that it can't be read.

    Raises
    ------
    FileNotFoundError
        If there is none.
    NotRead
        If the operating system raises another error.
    """
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        raise not_read(path, error) from error


def is_file(path: Path) -> bool:
    """Say whether there is a regular file.

    Raises
    ------
    NotRead
        If that can't be told.
    """
    try:
        return S_ISREG(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise not_read(path, error) from error


def refuse_foreign(path: Path, field: str) -> None:
    """Refuse what another user may have planted: a file or folder, or the link that leads there, is another's.

    Raises
    ------
    UsageError
        If it is there and does not belong to the user whose process this is.
    """
    if not os.path.lexists(path) or not hasattr(os, "geteuid"):
        return
    owners = {path.lstat().st_uid, path.stat().st_uid if path.exists() else path.lstat().st_uid} - {os.geteuid()}
    if owners:
        who = f"{owners.pop()}; this process runs as {os.geteuid()}"
        problem = f"belongs to another user ({who}), who may have planted it"
        raise UsageError(field, path, problem, "run the command as that user, or choose another folder")


def files_in(folder: Path, pattern: str) -> list[Path]:
    """Return the paths in a folder whose names match ``pattern``, sorted; none if there is no such folder.

    Raises
    ------
    NotRead
        If the folder can't be read.
    """
    try:
        with reading(folder):
            names = os.listdir(folder)  # noqa: PTH208 - Path.glob takes a folder that can't be read for an empty one
    except FileNotFoundError:
        return []
    return sorted(folder / name for name in names if fnmatchcase(name, pattern))


def read_if_there(path: Path, most: int = MOST_BYTES) -> bytes | None:
    """Return the content of a file; None if there is none.

    Raises
    ------
    NotRead
        If there is one that can't be read, it is a pipe or a device, or it has more than ``most`` bytes.
    """
    try:
        with reading(path), os.fdopen(os.open(path, os.O_RDONLY | os.O_CLOEXEC | _NO_WAITING), "rb") as file:
            found = os.fstat(file.fileno())
            _refuse_endless(found)
            # What is asked for is set aside beforehand, however little is there.
            content = file.read(min(most, found.st_size) + 1)
    except FileNotFoundError:
        return None
    if len(content) > most:
        raise NotRead(f"{path}: has more than {most:,} bytes, which no file of this kind has")
    return content


def size_of(path: Path) -> tuple[int, int]:
    """Return how many bytes a file has, and how many it takes on the disk.

    Raises
    ------
    FileNotFoundError
        If there is none.
    NotRead
        If that can't be told, or it is a pipe or a device.
    """
    with reading(path):
        found = path.stat()
        _refuse_endless(found)
    return found.st_size, 512 * getattr(found, "st_blocks", found.st_size)


def _refuse_endless(found: os.stat_result) -> None:
    if not S_ISREG(found.st_mode) and not S_ISDIR(found.st_mode):
        raise OSError(errno.EINVAL, "it is a pipe or a device, and no file")


def read_through(path: Path) -> None:
    """Read a file to its end, before it is mapped: where a map can't be read, the process ends without a word.

    Raises
    ------
    FileNotFoundError
        If there is none.
    NotRead
        If it can't be read.
    """
    with reading(path), path.open("rb", buffering=0) as file:
        block = bytearray(_BLOCK)
        while file.readinto(block):
            pass


def create(path: Path, mode: int = 0o666) -> IO[bytes]:
    """Open a new file for writing; one that is there, or a symlink, is an error.

    Raises
    ------
    OSError
        If it can't be made.
    """
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | NOFOLLOW, mode), "wb")


@contextmanager
def written_whole(
    path: Path, publish: Callable[[Path, Path], object] = os.replace, *, durable: bool = True
) -> Iterator[Path]:
    """Yield a new name to write to; what is there afterwards becomes ``path``. After an error nothing is left.

    Parameters
    ----------
    path
        Where to.
    publish
        How: ``os.replace``, or ``os.link``, which fails if there is a file of that name.
    durable
        Whether it outlasts a power failure.

    Raises
    ------
    OSError
        If it can't be written; a file that was there before stays.
    """
    partial = path.with_name(f".{path.name}.{secrets.token_hex(8)}.partial")
    try:
        yield partial
        if durable:
            sync_file(partial)
        publish(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    if durable:
        sync_folder(path.parent)


def write_bytes(path: Path, content: bytes, mode: int = 0o666, *, durable: bool = True) -> None:
    """Write a file whole or not at all, so that it outlasts a power failure if it is ``durable``.

    Raises
    ------
    OSError
        If it can't be written; a file that was there before stays.
    """
    with written_whole(path, durable=durable) as partial, create(partial, mode) as file:
        file.write(content)


def write_text(path: Path, text: str, *, durable: bool = True) -> None:
    """Write a text file whole or not at all, so that it outlasts a power failure if it is ``durable``.

    Raises
    ------
    OSError
        If it can't be written; a file that was there before stays.
    """
    write_bytes(path, text.encode(), durable=durable)


def sync_file(path: Path) -> None:
    """Bring a file's content to the disk."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | NOFOLLOW)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_folder(folder: Path) -> None:
    """Make a rename in ``folder`` last through a power failure, where the system can."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise


def sweep_partials(folder: Path) -> None:
    """Delete what processes left that were killed while they wrote; nobody else may be writing in the folder."""
    for path in files_in(folder, ".*"):
        if _PARTIAL.fullmatch(path.name):
            path.unlink(missing_ok=True)
