"""New samples of which each is a file, read for a network that is trained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from sglr.core.errors import UsageError, printable
from sglr.data.class_folders import (
    FileKind,
    Files,
    Parts,
    SampleFile,
    by_part,
    refuse_several,
    sample_file,
    subfolders,
    walk,
)
from sglr.data.file_samples import FileSamples, OnBad, Value, read_files
from sglr.data.new_samples import NewSamples


class NewFiles(NamedTuple):
    """Files for a network that is trained."""

    place: Path
    """The folder in which their names are paths."""
    files: list[SampleFile]
    labelled: bool
    """Whether their folders tell their classes."""
    notes: list[str]


def new_files(root: Path, kind: FileKind, classes: Sequence[str]) -> NewFiles:
    """Return the files for a network that is trained; of a folder with parts, those of the test part.

    Their folders tell their classes if each folder is one of these, and all files lie in them.

    Parameters
    ----------
    root
        A folder of files, with or without subfolders or parts; or one file.
    kind
        The kind of files.
    classes
        The network's classes; empty if it has none.

    Raises
    ------
    UsageError
        If there are no such files, or there are several folders of test files.
    """
    if root.is_file():
        return NewFiles(root.parent, [SampleFile(printable(root.name), root, 0)], False, [])
    part = _test_part(root, kind, classes)
    place = part or root
    there = subfolders(place)
    paths = [path for path in walk(place) if kind.has(path.name)]
    if not paths:
        remedy = f"put some there ({' '.join(sorted(kind.endings))})"
        raise UsageError("folder", place, f"has no {kind.name}", remedy)
    notes = [] if part is None else [f"{root} has parts: these are the {kind.name} of {part.name}"]
    if not there or not {*there} <= {*classes} or any(path.parent == place for path in paths):
        return NewFiles(place, [sample_file(path, place, place) for path in paths], False, notes)
    files = [
        sample_file(path, place, place / name, list(classes).index(name))
        for path in paths
        for name in [path.relative_to(place).parts[0]]
    ]
    return NewFiles(place, files, True, notes)


def _test_part(root: Path, kind: FileKind, classes: Sequence[str]) -> Path | None:
    """Return the folder of test files, if there is one beside that of training files, or beside none but parts."""
    names = subfolders(root)
    found, others = by_part(names)
    held = found["test"]
    if not held or {*names} <= {*classes} or (others and not found["train"]):
        return None
    refuse_several(root, kind, "test", held)
    return root / held[0]


def new_file_samples(
    root: Path,
    kind: FileKind,
    classes: Sequence[str],
    read: Callable[[SampleFile], NDArray[Any]],
    on_bad: OnBad = "error",
) -> NewSamples:
    """Return files as samples: with targets if their folders are the network's classes.

    Parameters
    ----------
    root, kind, classes
        As for `new_files`; no classes if samples don't each have one.
    read
        Returns a file's input; any error says that it can't be read, and why.
    on_bad
        Refuse a file that can't be read, or leave it out.

    Raises
    ------
    UsageError
        If there are no such files, or one can't be read.
    """
    found, labelled = read_new_files(root, kind, classes, read, on_bad)
    targets = torch.from_numpy(found.labels) if labelled else None
    inputs = torch.from_numpy(np.stack(found.values))
    return NewSamples(inputs, tuple(file.name for file in found.files), targets, tuple(found.notes))


def read_new_files(
    root: Path, kind: FileKind, classes: Sequence[str], read: Callable[[SampleFile], Value], on_bad: OnBad
) -> tuple[FileSamples[Value], bool]:
    """Return what files hold, and whether their folders tell their classes; see `new_file_samples`."""
    place, files, labelled, notes = new_files(root, kind, classes)
    names = list(classes) if labelled else ["any"]
    return read_files(Files(files, None, None, names, Parts(place), notes), read, on_bad), labelled
