"""A folder that is there whole or not at all."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sglr.core.errors import NotWritten, UsageError
from sglr.storage.files import sync_file, sync_folder


def refuse_occupied(out: Path) -> None:
    """Refuse a path at which no new folder can be made.

    Raises
    ------
    UsageError
        If there is a file, or a folder with files.
    """
    if out.is_dir() and not any(out.iterdir()):
        return
    if os.path.lexists(out):
        what = "has other files in it" if out.is_dir() else "is not a folder"
        raise UsageError("out", out, what, "give a new folder")


@contextmanager
def whole_folder(out: Path) -> Iterator[Path]:
    """Yield a folder to write to; it then becomes ``out``. After an error it is removed.

    Raises
    ------
    UsageError
        If ``out`` is occupied.
    NotWritten
        If it can't be written.
    """
    refuse_occupied(out)
    partial = out.parent / f".{out.name}.{secrets.token_hex(8)}.partial"
    try:
        partial.mkdir(parents=True)
        yield partial
        for path in partial.iterdir():
            sync_file(path)
        refuse_occupied(out)
        partial.rename(out)
        sync_folder(out.parent)
    except OSError as error:
        raise NotWritten(f"{out}: the export could not be written ({error.strerror or error})") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
