"""The tensors in a run's folder: checkpoints, and the frozen weights that no checkpoint holds."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from torch import Tensor

from sglr.core.errors import DamagedCheckpoint, NotRead, NotWritten, UsageError
from sglr.runs.folder import BEST, CHECKPOINTS, FROZEN, Run
from sglr.storage.checkpoint import read_checkpoint, write_checkpoint
from sglr.storage.files import create, is_file, written_whole


def save_checkpoint(
    run: Run, steps: int, tensors: Mapping[str, Tensor], state: Mapping[str, Any], *, best: bool, keep: int
) -> None:
    """Write the checkpoint after ``steps`` steps, and delete old ones.

    Parameters
    ----------
    run
        The run.
    steps
        Steps taken, which name the file.
    tensors, state
        What the checkpoint holds; the state is anything that JSON can hold.
    best
        Whether it is kept as the best, too.
    keep
        How many of the newest stay.

    Raises
    ------
    NotWritten
        If it can't be written.
    """
    path = run.path / CHECKPOINTS / f"step-{steps:09d}.safetensors"
    try:
        path.parent.mkdir(exist_ok=True)
        write_checkpoint(path, tensors, state)
        if best:
            _link_best(run, path)
    except OSError as error:
        raise NotWritten(f"{path}: the checkpoint could not be written ({error.strerror or error})") from error
    with suppress(NotRead):  # another time
        for old in run.checkpoints[:-keep]:
            old.unlink(missing_ok=True)


def _link_best(run: Run, path: Path) -> None:
    with written_whole(run.path / CHECKPOINTS / BEST) as partial:
        try:
            os.link(path, partial)
        except OSError:  # a file system without hard links
            with create(partial) as copy, path.open("rb") as file:
                shutil.copyfileobj(file, copy)


def newest_checkpoint(run: Run) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Return the tensors and the state of the newest checkpoint that is whole; None if there is no checkpoint.

    Raises
    ------
    UsageError
        If there are checkpoints, all damaged.
    NotRead
        If one can't be read.
    """
    damage = None
    for path in reversed(run.checkpoints):
        try:
            return read_checkpoint(path)
        except DamagedCheckpoint as error:
            damage = damage or error
    if damage is not None:
        raise UsageError("run", run.path, f"all checkpoints are damaged ({damage})", "train again")
    return None


def best_checkpoint(run: Run) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors and the state of the checkpoint of the best validation epoch.

    Raises
    ------
    DamagedCheckpoint
        If it is not there, or not whole.
    """
    return read_checkpoint(run.path / CHECKPOINTS / BEST)


def save_frozen(run: Run, weights: Mapping[str, Tensor]) -> None:
    """Write the frozen weights of the whole model; write nothing if there are none.

    Raises
    ------
    NotWritten
        If they can't be written.
    """
    if not weights:
        return
    path = run.path / FROZEN
    try:
        write_checkpoint(path, weights, {})
    except OSError as error:
        raise NotWritten(f"{path}: could not be written ({error.strerror or error})") from error


def frozen_weights(run: Run) -> dict[str, Tensor] | None:
    """Return the frozen weights of the whole model that the run began with, by name; None if it did not get so far.

    Raises
    ------
    UsageError
        If the file is damaged.
    """
    path = run.path / FROZEN
    if not is_file(path):
        return {} if run.checkpoints else None
    try:
        return read_checkpoint(path)[0]
    except DamagedCheckpoint as error:
        raise UsageError("run", path, f"is damaged ({error})", "restore that file from a copy") from error
