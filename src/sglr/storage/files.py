"""Files: errors of reading name the operating system's cause, and files are written whole or not at all.

Whether a file is unreadable or missing decides what may be deleted, so the two are never confused. A file is first
written under a new, unpredictable name, so that no planted symlink and no other process can interfere. Then it
is synced, renamed, and its folder synced, so that it survives a power failure.
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
"""The flag that refuses to open a symlink, if the system has one."""

MOST_BYTES = 1 << 26
"""Most bytes of a file of settings, records or results."""

_BLOCK = 1 << 22
_NO_WAITING = getattr(os, "O_NONBLOCK", 0)  # opening a pipe without a writer would block
_NO_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EACCES, errno.EPERM)
# safetensors leaves the second kind when it is killed.
_PARTIAL = re.compile(r"\..+\.partial|\.tmp\w{6}")


def not_read(path: Path, error: OSError | RuntimeError) -> NotRead:
    """Return the error for a file that can't be read, with the operating system's cause."""
    cause = (error.strerror if isinstance(error, OSError) else None) or error
    return NotRead(f"{path}: cannot be read ({cause}); nothing was deleted, try again when it can be read")


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Convert errors so that a missing file and an unreadable file are distinct.

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
    """Return whether there is a regular file.

    Raises
    ------
    NotRead
        If that can't be found out.
    """
    try:
        return S_ISREG(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise not_read(path, error) from error


def refuse_foreign(path: Path, field: str) -> None:
    """Refuse a file or folder that another user may have planted: it, or the link to it, belongs to another user.

    Raises
    ------
    UsageError
        If it exists and belongs to another user than that of this process.
    """
    if not os.path.lexists(path) or not hasattr(os, "geteuid"):
        return
    owners = {path.lstat().st_uid, path.stat().st_uid if path.exists() else path.lstat().st_uid} - {os.geteuid()}
    if owners:
        who = f"{owners.pop()}; this process runs as {os.geteuid()}"
        problem = f"belongs to another user ({who}), who may have planted it"
        raise UsageError(field, path, problem, "run the command as that user, or choose another folder")


def files_in(folder: Path, pattern: str) -> list[Path]:
    """Return the paths in a folder whose names match ``pattern``, sorted; empty if there is no such folder.

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
        If it can't be read, is a pipe or a device, or has more than ``most`` bytes.
    """
    try:
        with reading(path), os.fdopen(os.open(path, os.O_RDONLY | os.O_CLOEXEC | _NO_WAITING), "rb") as file:
            found = os.fstat(file.fileno())
            _refuse_endless(found)
            # read(n) allocates n bytes at once, however small the file is.
            content = file.read(min(most, found.st_size) + 1)
    except FileNotFoundError:
        return None
    if len(content) > most:
        raise NotRead(f"{path}: larger than {most:,} bytes, the limit for files of this kind")
    return content


def size_of(path: Path) -> tuple[int, int]:
    """Return the size of a file in bytes, and its bytes on the disk.

    Raises
    ------
    FileNotFoundError
        If there is none.
    NotRead
        If that can't be found out, or it is a pipe or a device.
    """
    with reading(path):
        found = path.stat()
        _refuse_endless(found)
    return found.st_size, 512 * getattr(found, "st_blocks", found.st_size)


def _refuse_endless(found: os.stat_result) -> None:
    if not S_ISREG(found.st_mode) and not S_ISDIR(found.st_mode):
        raise OSError(errno.EINVAL, "it is a pipe or a device, not a file")


def read_through(path: Path) -> None:
    """Read a file to its end before it is mapped: a read error in a mapped file would kill the process.

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
    """Open a new file for writing; an existing file or symlink is an error.

    Raises
    ------
    OSError
        If it can't be created.
    """
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | NOFOLLOW, mode), "wb")


@contextmanager
def written_whole(
    path: Path, publish: Callable[[Path, Path], object] = os.replace, *, durable: bool = True
) -> Iterator[Path]:
    """Yield a temporary name to write to; the file then becomes ``path``. After an error it is removed.

    Parameters
    ----------
    path
        The final name.
    publish
        How to rename: ``os.replace``, or ``os.link``, which fails if the file exists.
    durable
        Whether the file must survive a power failure.

    Raises
    ------
    OSError
        If it can't be written; an existing file stays unchanged.
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
    """Write a file whole or not at all; if ``durable``, it survives a power failure.

    Raises
    ------
    OSError
        If it can't be written; an existing file stays unchanged.
    """
    with written_whole(path, durable=durable) as partial, create(partial, mode) as file:
        file.write(content)


def write_text(path: Path, text: str, *, durable: bool = True) -> None:
    """Write a text file whole or not at all; if ``durable``, it survives a power failure.

    Raises
    ------
    OSError
        If it can't be written; an existing file stays unchanged.
    """
    write_bytes(path, text.encode(), durable=durable)


def sync_file(path: Path) -> None:
    """Sync a file's content to the disk."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | NOFOLLOW)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_folder(folder: Path) -> None:
    """Sync ``folder``, so that a rename in it survives a power failure, if the system supports this."""
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
    """Delete temporary files of killed processes; no other process may be writing in the folder."""
    for path in files_in(folder, ".*"):
        if _PARTIAL.fullmatch(path.name):
            path.unlink(missing_ok=True)
