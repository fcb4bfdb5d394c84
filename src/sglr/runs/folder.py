"""The folder of one run: settings, a record of each epoch, the summary. A crash loses none of them.

Nothing here imports torch. What holds tensors is in `sglr.assembly.run_checkpoints`.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import IO, Any, Self

from sglr.core.errors import UsageError, printable
from sglr.runs.config import Experiment, read_toml
from sglr.runs.data_record import DATA, DataRecord
from sglr.storage.files import (
    NOFOLLOW,
    files_in,
    is_file,
    read_if_there,
    sweep_partials,
    write_text,
)
from sglr.storage.json_files import WRONG, parse, read_object

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
"""Most bytes of an epoch's record, and most characters of a message about damage."""

TRUST, STATUS = "trust", "status.json"
"""What a server writes into a folder before the run in it begins: its authority, and its status."""

PROGRESS = "progress.json"
"""How far the run is; only while it trains, and after it was stopped."""

PREDICTING = "predicting.json"
"""The status of a server that answers predictions of a trained run."""


FOLDERS = "hf:"
"""How the name of a model begins that lies in a folder of its own."""


@dataclass(frozen=True)
class Run:
    """A run folder.

    Parameters
    ----------
    path
        The folder.
    model
        The run's model, ``package.module:function``, if the user names it. Code that only the folder names is not run
        unless it is installed.
    trusted
        Other settings whose code the user names, ``"task"`` and ``"metrics"``.
    """

    path: Path
    model: str | None = None
    trusted: tuple[str, ...] = ()

    @classmethod
    def open(cls, path: str | Path, model: str | None = None, trusted: tuple[str, ...] = ()) -> Self:
        """Open a run folder that exists.

        Raises
        ------
        UsageError
            If it is not a run folder, or ``model`` is not the run's model.
        """
        path = Path(path)
        if not is_file(path / CONFIG):
            raise UsageError("run", path, f"is not a run folder (it has no {CONFIG})", "give the folder of a run")
        run = cls(path, model, trusted)
        if model is not None:
            _ = run.experiment
        return run

    @property
    def experiment(self) -> Experiment:
        """The run's settings."""
        settings = Experiment.from_flat(read_toml(self.path / CONFIG))
        if self.model is None:
            return settings.read_from(self.path, self.trusted)
        if not (settings.model.startswith(FOLDERS) and self.model.startswith(FOLDERS)):  # else its folder has moved
            settings.require("model", self.model)
        return settings.read_from(self.path, ("model", *self.trusted))

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
        """What the run was trained on: shape, classes, encoding; None for runs of sglr 0.1.

        Raises
        ------
        UsageError
            If the file can't be read.
        """
        return DataRecord.read(self.path / DATA)

    def record_choices(self, choices: Mapping[str, str]) -> None:
        """Write the settings that a measurement chose, so that the run is resumed with the same."""
        write_text(self.path / CHOICES, json.dumps(dict(choices)) + "\n")

    def as_chosen(self, experiment: Experiment) -> Experiment:
        """Return an experiment with the settings that a measurement chose when the run began.

        Raises
        ------
        UsageError
            If the file can't be read.
        """
        path = self.path / CHOICES
        content = read_if_there(path)
        if content is None:
            return experiment
        try:
            chosen = Experiment.model_validate({**experiment.model_dump(), **_choices(parse(content))})
            return chosen.read_like(experiment)
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            remedy = "delete that file; the choice is then measured again, and the result is the same up to rounding"
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
        """One record per epoch; a torn line and all lines after it are left out."""
        return _whole_lines(read_if_there(self.path / METRICS) or b"")

    def append(self, record: Mapping[str, Any]) -> None:
        """Add an epoch's record to ``metrics.jsonl``.

        Raises
        ------
        OSError
            If it can't be written; the file is left unchanged.
        """
        line = (json.dumps(record) + "\n").encode()
        with _appended(self.path / METRICS) as file:
            before = file.tell()
            try:
                # A disk that is nearly full writes a part of the line and refuses the rest.
                while line:
                    line = line[file.write(line) :]
                os.fsync(file.fileno())
            except OSError:
                file.truncate(before)
                raise

    def keep_records(self, count: int) -> None:
        """Drop records after the first ``count``: they belong to epochs that will be trained again."""
        self._write_records(self.history[:count])

    def amend(self, record: Mapping[str, Any]) -> None:
        """Add to the last epoch's record what was found after it was written."""
        *before, last = self.history
        self._write_records([*before, {**last, **record}])

    def _write_records(self, records: Iterable[Mapping[str, Any]]) -> None:
        write_text(self.path / METRICS, "".join(json.dumps(record) + "\n" for record in records))

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Write ``summary.json``."""
        write_text(self.path / SUMMARY, json.dumps(summary, indent=2) + "\n")

    @property
    def checkpoints(self) -> list[Path]:
        """All checkpoints, oldest first; NotRead if their folder can't be read."""
        return files_in(self.path / CHECKPOINTS, "step-*.safetensors")

    def tidy(self) -> None:
        """Delete partial files of a process that was killed while it wrote; no other process may use the folder."""
        for folder in (self.path, self.path / CHECKPOINTS):
            sweep_partials(folder)


def write_command(folder: Path, command: str) -> None:
    """Write the command that was typed, if there is one, without passwords: reports show it."""
    if command:
        write_text(folder / COMMAND, without_passwords(command) + "\n")


def without_passwords(text: str) -> str:
    """Return a text with ``…`` in place of the user and password of an address, as in ``http://USER:PASSWORD@HOST``."""
    return re.sub(r"(?<=://)[^/\s@]*@", "…@", text)


def read_command(folder: Path) -> str:
    """Return the command that made a folder; empty if none was recorded."""
    path = folder / COMMAND
    content = read_if_there(path, MOST_LINE) or b""
    return printable(content.decode(errors="replace"), instead="").strip()


def _appended(path: Path) -> IO[bytes]:
    """Open a file to add to it; a symlink is an error."""
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | NOFOLLOW, 0o666)
    return os.fdopen(handle, "ab", buffering=0)


def _choices(found: Mapping[str, Any]) -> Mapping[str, Any]:
    """Refuse settings that no measurement chooses, such as code."""
    others = sorted(found.keys() - {"stacking"})
    if others:
        raise ValueError(f"{others[0]} is never chosen by measurement")
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
    """Report errors that the content of a folder's files causes as damage.

    Raises
    ------
    UsageError
        Instead of the errors in ``wrong``; other errors pass unchanged.
    """
    try:
        yield
    except wrong as error:
        problem = f"a file in it is damaged ({type(error).__name__}: {str(error)[:MOST_SAID]})"
        raise UsageError("run", folder, problem, remedy) from error
