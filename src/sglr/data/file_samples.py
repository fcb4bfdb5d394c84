"""Read samples of which each is a file: refuse or skip what can't be read, and divide the rest into parts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from sglr.core.errors import UsageError, listed
from sglr.data.class_folders import SHOWN, Files, SampleFile
from sglr.data.split import stratified_split

Rows = NDArray[np.int64]
Value = TypeVar("Value")

OnBad = Literal["error", "skip"]
"""What to do with a file that can't be read."""

FOLDER = "folder"
"""The column of the subfolders that files lie in within the folder of their class."""


@dataclass(frozen=True)
class FileSamples(Generic[Value]):
    """What was read, a value for each file.

    Parameters
    ----------
    values
        What the files hold.
    files
        The files.
    part
        The part of each: 0 for training, 1 for validation, 2 for testing.
    has_test
        Whether there is a folder of test files.
    notes
        What the user should know, a sentence each.
    """

    values: list[Value]
    files: list[SampleFile]
    part: NDArray[np.int8]
    has_test: bool
    notes: list[str]

    @property
    def labels(self) -> NDArray[np.int64]:
        """The classes' numbers ``[N]``."""
        return np.array([file.label for file in self.files], dtype=np.int64)

    @property
    def columns(self) -> dict[str, NDArray[np.object_]]:
        """The column `FOLDER`, if any file lies in a subfolder."""
        folders = np.array([file.folder for file in self.files], dtype=object)
        return {FOLDER: folders} if any(folders) else {}

    def divided(self, fraction: float, seed: int, group: str) -> tuple[Rows, Rows | None, Rows]:
        """Return the rows for training, validation (if there is a folder of them) and testing.

        Raises
        ------
        UsageError
            If ``group`` is not `FOLDER` or files lie in no subfolders, or no test part can be drawn.
        """
        if group and group not in self.columns:
            problem = "files can only be grouped by the subfolders that they lie in within the folder of their class"
            remedy = f"give {FOLDER}" if self.columns else "make a subfolder for each group, or leave it out"
            raise UsageError("group", group, problem, remedy)
        train, apart, test = (np.flatnonzero(self.part == part) for part in range(3))
        if not self.has_test:
            groups = self.columns[group][train] if group else None
            own, held = stratified_split(self.labels[train], fraction, seed, groups)
            train, test = train[own], train[held]
        return train, apart if len(apart) else None, test


def read_files(found: Files, read: Callable[[SampleFile], Value], on_bad: OnBad = "error") -> FileSamples[Value]:
    """Read files one by one.

    Parameters
    ----------
    found
        The files.
    read
        Returns what a file holds; any error says that it can't be read, and why.
    on_bad
        Whether such a file is refused or skipped.

    Raises
    ------
    UsageError
        If a file can't be read and is not to be skipped, or all files of a class are skipped.
    """
    values, files, part, skipped = [], [], [], []
    for number, (own, place) in enumerate(zip(found[:3], found.parts[:3], strict=True)):
        for file in own or ():
            try:
                values.append(read(file))
            except UsageError:
                raise
            # Decoders raise many kinds of errors for damaged files.
            except Exception as error:
                if on_bad == "error":
                    remedy = "replace or remove it, or give --on-bad skip"
                    raise UsageError(
                        "file", f"{place}/{file.name}", f"cannot be read ({_reason(error)})", remedy
                    ) from error
                skipped.append(f"{file.name} ({_reason(error)})")
            else:
                files.append(file)
                part.append(number)
    _check_classes(found, files, skipped)
    count = f"{len(skipped)} of {found.number} files can't be read and were skipped"
    notes = [*found.notes, *([f"{count}: {listed(skipped, SHOWN)}"] if skipped else [])]
    return FileSamples(values, files, np.array(part, dtype=np.int8), found.test is not None, notes)


def _check_classes(found: Files, kept: Sequence[SampleFile], skipped: Sequence[str]) -> None:
    wanted = {file.label for part in found[:3] for file in part or ()}
    for label in sorted(wanted - {file.label for file in kept}):
        problem = f"no file of class {found.classes[label]} can be read"
        raise UsageError("on_bad", "skip", problem, f"replace them, or remove the class: {skipped[-1]}")


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    said = getattr(error, "error_string", None) or str(error)  # soundfile repeats the path
    return said.partition("\n")[0].rstrip(".") or type(error).__name__
