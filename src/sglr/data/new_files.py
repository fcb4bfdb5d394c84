"""New samples of which each is a file, read for a network that is trained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sglr.data.class_folders import FileKind, Files, Parts, SampleFile, new_files
from sglr.data.file_samples import FileSamples, OnBad, Value, read_files
from sglr.data.new_samples import NewSamples


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
    root
        A folder of files, with or without subfolders; or one file.
    kind
        The kind of files.
    classes
        The network's classes; empty if samples don't each have one.
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
    files, labelled = new_files(root, kind, classes)
    place = root.parent if root.is_file() else root
    names = list(classes) if labelled else ["any"]
    return read_files(Files(files, None, None, names, Parts(place), []), read, on_bad), labelled
