"""Folders for new runs: which one, whether it may be written, and what is in it before training begins."""

from __future__ import annotations

import errno
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sglr.core.errors import UsageError
from sglr.runs.config import Experiment, read_toml
from sglr.runs.folder import CHECKPOINTS, CONFIG, STATUS, TRUST, Run, write_command
from sglr.storage.files import refuse_foreign, write_text
from sglr.storage.lock import LOCK, locked


def create_run(path: Path | None, experiment: Experiment, command: str = "") -> Run:
    """Make a new run folder.

    Parameters
    ----------
    path
        Where; None is ``runs/<time>-<name>``.
    experiment
        Its settings, written to ``config.toml``.
    command
        The command that was typed, if one was, written to ``command.txt``.

    Raises
    ------
    UsageError
        If the folder can't be written, or holds a run or other files already.
    """
    refuse_occupied(path, experiment)
    path = make_run_folder(path, experiment)
    try:
        write_text(path / CONFIG, experiment.to_toml())
        write_command(path, command)
        (path / CHECKPOINTS).mkdir(exist_ok=True)
    except OSError as error:
        raise UsageError("out", path, f"cannot be written ({error.strerror})", "choose another folder") from error
    return Run(path)


def make_run_folder(path: Path | None, experiment: Experiment) -> Path:
    """Make the folder ``path`` for a new run, or ``runs/<time>-<name>``, and return it.

    Raises
    ------
    UsageError
        If it can't be made.
    """
    folder = path if path is not None else _default_path(experiment)
    make_folder(folder)
    return folder


def refuse_occupied(path: Path | None, experiment: Experiment) -> None:
    """Refuse a folder that can't be written or that holds something else, before any work is done.

    Parameters
    ----------
    path
        The folder; None is a new one, which is never refused.
    experiment
        The settings of the new run.

    Raises
    ------
    UsageError
        If a new run can't have it.
    """
    if path is None:
        return
    if path.is_file():
        raise UsageError("out", path, "is a file", "choose a folder")
    refuse_unwritable(path)
    refuse_foreign(path / TRUST, "out")
    if not path.is_dir() or all(file.name in (TRUST, STATUS, LOCK) for file in path.iterdir()):
        return
    if not (path / CONFIG).is_file():
        raise UsageError("out", path, "is a folder with other files in it", "choose a new or empty folder")
    _refuse_other_run(path, experiment)
    raise UsageError("out", path, "holds this run already", f"continue it with: sglr resume {path}")


def _refuse_other_run(path: Path, experiment: Experiment) -> None:
    there, here = read_toml(path / CONFIG), experiment.flat()
    changed = [key for key in sorted({*there, *here}) if there.get(key) != here.get(key)]
    if changed:
        key = changed[0]
        problem = f"holds a run of another configuration ({key} is {there.get(key)} there, {here.get(key)} here)"
        raise UsageError("out", path, problem, "choose another folder")


def refuse_single_run(folder: Path, purpose: str) -> None:
    """Raise UsageError if a folder for several runs, ``purpose``, is a file or a run itself."""
    if folder.is_file():
        raise UsageError("out", folder, "is a file", "choose a folder")
    if (folder / CONFIG).is_file():
        raise UsageError("out", folder, "holds a single run", f"choose another folder for {purpose}")


def make_folder(folder: Path) -> None:
    """Make a folder; UsageError if it can't be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError("out", folder, f"cannot be written ({error.strerror})", "choose another folder") from error


@contextmanager
def folder_of_runs(folder: Path) -> Iterator[None]:
    """Make a folder for several runs, and keep other processes from it for as long as this takes.

    Raises
    ------
    UsageError
        If it can't be made, or another process works in it.
    """
    make_folder(folder)
    with locked(folder):
        yield


def refuse_unwritable(path: Path, field: str = "out", remedy: str = "choose another folder") -> None:
    """Refuse a folder that can't be made or written, as far as that can be seen without writing."""
    there = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    reason = errno.ENOTDIR if not there.is_dir() else 0 if os.access(there, os.W_OK) else _forbidding(there)
    if reason:
        raise UsageError(field, path, f"cannot be written ({os.strerror(reason)})", remedy)


def _forbidding(folder: Path) -> int:
    read_only = hasattr(os, "statvfs") and os.statvfs(folder).f_flag & os.ST_RDONLY
    return errno.EROFS if read_only else errno.EACCES


def _default_path(experiment: Experiment) -> Path:
    name = experiment.name or f"{experiment.method}-{experiment.dataset}"
    safe = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-")
    stem = f"{time.strftime('%Y%m%d-%H%M%S')}-{safe}"
    paths = (Path("runs") / (stem if number == 1 else f"{stem}-{number}") for number in range(1, 1000))
    return next(path for path in paths if not path.exists())
