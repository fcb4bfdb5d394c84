"""The folder of one run: its settings, measurements, checkpoints and summary, all written so that nothing is lost."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Self

from sglr.core.errors import NotRead, NotWritten, UsageError, printable
from sglr.runs.config import Experiment, read_toml
from sglr.runs.data_record import DATA, DataRecord
from sglr.storage.files import (
    NOFOLLOW,
    create,
    files_in,
    is_file,
    read_if_there,
    refuse_foreign,
    sweep_partials,
    write_text,
    written_whole,
)
from sglr.storage.json_files import WRONG, parse, read_object
from sglr.storage.lock import LOCK, locked

if TYPE_CHECKING:
    from torch import Tensor

CONFIG, CHOICES, COMMAND, METRICS, SUMMARY, CHECKPOINTS, BEST, FROZEN = (
    "config.toml",
    "choices.json",
    "command.txt",
    "metrics.jsonl",
    "summary.json",
    "checkpoints",
    "best.safetensors",
    "frozen.safetensors",
)


MOST_LINE, MOST_SAID = 1 << 18, 200
"""Bytes of an epoch's record, and characters of what is said of damage, at most."""

TRUST, STATUS = "trust", "status.json"
"""What a server keeps in its run's folder from before there is a run: its authority, and how it is doing."""


@dataclass(frozen=True)
class Run:
    """A run folder.

    Parameters
    ----------
    path
        The folder.
    model
        The run's ``package.module:function``, if the user names it: code is not run because the folder names it, unless
        it is installed.
    """

    path: Path
    model: str | None = None

    @classmethod
    def create(cls, path: Path | None, experiment: Experiment, command: str = "") -> Self:
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
        cls.refuse_occupied(path, experiment)
        path = cls.place(path, experiment)
        try:
            write_text(path / CONFIG, experiment.to_toml())
            write_command(path, command)
            (path / CHECKPOINTS).mkdir(exist_ok=True)
        except OSError as error:
            raise UsageError("out", path, f"cannot be written ({error.strerror})", "choose another folder") from error
        return cls(path)

    @staticmethod
    def place(path: Path | None, experiment: Experiment) -> Path:
        """Make the folder ``path`` for a new run, or ``runs/<time>-<name>``, and return it.

        Raises
        ------
        UsageError
            If it can't be made.
        """
        folder = path if path is not None else _default_path(experiment)
        make_folder(folder)
        return folder

    @staticmethod
    def refuse_occupied(path: Path | None, experiment: Experiment) -> None:
        """Raise UsageError if a new run can't have the folder ``path``, before any work is done."""
        if path is not None:
            _refuse_occupied(path, experiment)

    @classmethod
    def open(cls, path: Path, model: str | None = None) -> Self:
        """Open a run folder that exists.

        Raises
        ------
        UsageError
            If it is none, or ``model`` is another than the run's.
        """
        if not is_file(path / CONFIG):
            raise UsageError("run", path, f"is not a run folder (it has no {CONFIG})", "give the folder of a run")
        run = cls(path, model)
        if model is not None:
            _ = run.experiment
        return run

    @property
    def experiment(self) -> Experiment:
        """The run's settings."""
        settings = Experiment.from_flat(read_toml(self.path / CONFIG))
        return settings.read_from(self.path) if self.model is None else settings.trusting(self.model)

    @property
    def settings(self) -> dict[str, Any]:
        """The run's settings as flat keys, unchecked, for showing."""
        return read_toml(self.path / CONFIG)

    @property
    def command(self) -> str:
        """The command that was typed to make the run; empty where it was made in Python."""
        return read_command(self.path)

    def record_data(self, record: DataRecord) -> None:
        """Write what the run's parts are built from, beside its settings."""
        write_text(self.path / DATA, record.text())

    @property
    def data(self) -> DataRecord | None:
        """What the run was trained on: shape, classes, encoding; None of runs of before.

        Raises
        ------
        UsageError
            If that can't be read.
        """
        return DataRecord.read(self.path / DATA)

    def record_choices(self, choices: Mapping[str, str]) -> None:
        """Write what was chosen by measurement where the settings leave it open, so that the run goes on with it."""
        write_text(self.path / CHOICES, json.dumps(dict(choices)) + "\n")

    def as_chosen(self, experiment: Experiment) -> Experiment:
        """Return an experiment with what was chosen when the run began.

        Raises
        ------
        UsageError
            If that can't be read.
        """
        path = self.path / CHOICES
        content = read_if_there(path)
        if content is None:
            return experiment
        try:
            chosen = Experiment.model_validate({**experiment.model_dump(), **_choices(parse(content))})
            return chosen.read_from(experiment.folder)
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            remedy = "delete that file; the run goes on, to rounding, with what is measured then"
            reason = " ".join(str(error).splitlines()[:3])
            raise UsageError("run", path, f"is damaged ({reason})", remedy) from error

    @property
    def summary(self) -> dict[str, Any] | None:
        """What ``summary.json`` holds, or None while the run is unfinished."""
        path = self.path / SUMMARY
        try:
            return read_object(path)
        except ValueError as error:
            raise UsageError("run", path, f"is damaged ({error})", "delete that file, then resume the run") from error

    @property
    def history(self) -> list[dict[str, Any]]:
        """One record per epoch; a torn line and what follows it are left out."""
        return _whole_lines(read_if_there(self.path / METRICS) or b"")

    def append(self, record: Mapping[str, Any]) -> None:
        """Add an epoch's record to ``metrics.jsonl``.

        Raises
        ------
        OSError
            If it can't be written; the file is as it was.
        """
        line = (json.dumps(record) + "\n").encode()
        with _appended(self.path / METRICS) as file:
            before = file.tell()
            try:
                # A disk that fills up takes a part first, and refuses the rest.
                while line:
                    line = line[file.write(line) :]
                os.fsync(file.fileno())
            except OSError:
                file.truncate(before)
                raise

    def keep_records(self, count: int) -> None:
        """Drop records after the first ``count``: they belong to epochs that will be trained again."""
        lines = [json.dumps(record) + "\n" for record in self.history[:count]]
        write_text(self.path / METRICS, "".join(lines))

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Write ``summary.json``."""
        write_text(self.path / SUMMARY, json.dumps(summary, indent=2) + "\n")

    def save(
        self, steps: int, tensors: Mapping[str, Tensor], state: Mapping[str, Any], *, best: bool, keep: int
    ) -> None:
        """Write the checkpoint after ``steps`` steps, keep it as the best if it is, and drop old ones."""
        from sglr.storage.checkpoint import write_checkpoint

        path = self.path / CHECKPOINTS / f"step-{steps:09d}.safetensors"
        try:
            path.parent.mkdir(exist_ok=True)
            write_checkpoint(path, tensors, state)
            if best:
                self._link_best(path)
        except OSError as error:
            raise NotWritten(f"{path}: the checkpoint could not be written ({error.strerror or error})") from error
        with suppress(NotRead):  # another time
            for old in self.checkpoints[:-keep]:
                old.unlink(missing_ok=True)

    def _link_best(self, path: Path) -> None:
        with written_whole(self.path / CHECKPOINTS / BEST) as partial:
            try:
                os.link(path, partial)
            except OSError:  # a file system without hard links
                with create(partial) as copy, path.open("rb") as file:
                    shutil.copyfileobj(file, copy)

    @property
    def checkpoints(self) -> list[Path]:
        """All checkpoints, oldest first; NotRead if their folder can't be read."""
        return files_in(self.path / CHECKPOINTS, "step-*.safetensors")

    def tidy(self) -> None:
        """Delete what a process left that was killed while it wrote; nobody else may work in the folder."""
        for folder in (self.path, self.path / CHECKPOINTS):
            sweep_partials(folder)

    def newest(self) -> tuple[dict[str, Tensor], dict[str, Any], list[str]] | None:
        """Read the newest checkpoint that is whole.

        Returns
        -------
        tuple or None
            Tensors, state, and a complaint about each damaged checkpoint that was passed over; None if there is no
            checkpoint at all.

        Raises
        ------
        UsageError
            If there are checkpoints, all damaged.
        NotRead
            If one can't be read.
        """
        from sglr.core.errors import DamagedCheckpoint
        from sglr.storage.checkpoint import read_checkpoint

        complaints: list[str] = []
        for path in reversed(self.checkpoints):
            try:
                tensors, state = read_checkpoint(path)
            except DamagedCheckpoint as error:
                complaints.append(str(error))
            else:
                return tensors, state, complaints
        if complaints:
            raise UsageError("run", self.path, f"all checkpoints are damaged ({complaints[0]})", "train again")
        return None

    def keep_frozen(self, weights: Mapping[str, Tensor]) -> None:
        """Write the frozen weights of the whole model, which no checkpoint holds; without any, nothing.

        Raises
        ------
        NotWritten
            If they can't be written.
        """
        from sglr.storage.checkpoint import write_checkpoint

        if not weights:
            return
        path = self.path / FROZEN
        try:
            write_checkpoint(path, weights, {})
        except OSError as error:
            raise NotWritten(f"{path}: could not be written ({error.strerror or error})") from error

    def frozen(self) -> dict[str, Tensor] | None:
        """Return the frozen weights of the whole model that the run began with, by name; None if it did not get so far.

        Raises
        ------
        UsageError
            If the file is damaged.
        """
        from sglr.core.errors import DamagedCheckpoint
        from sglr.storage.checkpoint import read_checkpoint

        path = self.path / FROZEN
        if not is_file(path):
            return {} if self.checkpoints else None
        try:
            return read_checkpoint(path)[0]
        except DamagedCheckpoint as error:
            raise UsageError("run", path, f"is damaged ({error})", "restore that file from a copy") from error

    def best(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Read the checkpoint of the best validation epoch.

        Raises
        ------
        DamagedCheckpoint
            If it is not there, or not whole.
        """
        from sglr.storage.checkpoint import read_checkpoint

        return read_checkpoint(self.path / CHECKPOINTS / BEST)


def write_command(folder: Path, command: str) -> None:
    """Keep the command that was typed, if one was."""
    if command:
        write_text(folder / COMMAND, command + "\n")


def read_command(folder: Path) -> str:
    """Return the command that was typed to make a folder; empty where none was kept."""
    path = folder / COMMAND
    content = read_if_there(path, MOST_LINE) or b""
    return printable(content.decode(errors="replace"), instead="").strip()


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


def _default_path(experiment: Experiment) -> Path:
    name = experiment.name or f"{experiment.method}-{experiment.dataset}"
    safe = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-")
    stem = f"{time.strftime('%Y%m%d-%H%M%S')}-{safe}"
    paths = (Path("runs") / (stem if number == 1 else f"{stem}-{number}") for number in range(1, 1000))
    return next(path for path in paths if not path.exists())


def _refuse_occupied(path: Path, experiment: Experiment) -> None:
    if path.is_file():
        raise UsageError("out", path, "is a file", "choose a folder")
    refuse_unwritable(path)
    refuse_foreign(path / TRUST, "out")
    if not path.is_dir() or all(file.name in (TRUST, STATUS, LOCK) for file in path.iterdir()):
        return
    if not (path / CONFIG).is_file():
        raise UsageError("out", path, "is a folder with other files in it", "choose a new or empty folder")
    there, here = read_toml(path / CONFIG), experiment.flat()
    changed = [key for key in sorted({*there, *here}) if there.get(key) != here.get(key)]
    if changed:
        key = changed[0]
        problem = f"holds a run of another configuration ({key} is {there.get(key)} there, {here.get(key)} here)"
        raise UsageError("out", path, problem, "choose another folder")
    raise UsageError("out", path, "holds this run already", f"continue it with: sglr resume {path}")


def refuse_unwritable(path: Path, field: str = "out", remedy: str = "choose another folder") -> None:
    """Refuse a folder that can't be made or written, as far as that can be seen without writing."""
    there = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    reason = errno.ENOTDIR if not there.is_dir() else 0 if os.access(there, os.W_OK) else _forbidding(there)
    if reason:
        raise UsageError(field, path, f"cannot be written ({os.strerror(reason)})", remedy)


def _forbidding(folder: Path) -> int:
    read_only = hasattr(os, "statvfs") and os.statvfs(folder).f_flag & os.ST_RDONLY
    return errno.EROFS if read_only else errno.EACCES


def _appended(path: Path) -> IO[bytes]:
    """Open a file to add to it; a symlink is an error."""
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | NOFOLLOW, 0o666)
    return os.fdopen(handle, "ab", buffering=0)


def _choices(found: Mapping[str, Any]) -> Mapping[str, Any]:
    """Refuse what is never chosen by measurement, such as other code."""
    others = sorted(found.keys() - {"stacking"})
    if others:
        raise ValueError(f"nothing chooses {others[0]}")
    return found


def _whole_lines(content: bytes) -> list[dict[str, Any]]:
    records = []
    for line in BytesIO(content):
        try:
            record = parse(line) if len(line) <= MOST_LINE else None
        except ValueError:
            break
        if not isinstance(record, dict):
            break
        records.append(record)
    return records


@contextmanager
def damage_explained(
    folder: Path, remedy: str = "train again", wrong: tuple[type[Exception], ...] = WRONG
) -> Iterator[None]:
    """Say of what goes wrong with the content of a folder's files that they are damaged.

    Raises
    ------
    UsageError
        Instead of errors that damaged content leads to; others pass.
    """
    try:
        yield
    except wrong as error:
        problem = f"a file in it is damaged ({type(error).__name__}: {str(error)[:MOST_SAID]})"
        raise UsageError("run", folder, problem, remedy) from error
