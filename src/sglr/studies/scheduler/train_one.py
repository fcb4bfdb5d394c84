"""One trial of a study, brought to its end from wherever its run folder stands."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from sglr.assembly.parts import PartOverrides
from sglr.core.errors import DivergedError, Interrupted, UsageError
from sglr.experiment.resume import resume
from sglr.experiment.train import execute
from sglr.inference.run import Run
from sglr.runs.folder import CONFIG
from sglr.storage.files import is_file
from sglr.storage.lock import wait_until_free
from sglr.studies.scheduler.datasets import Datasets
from sglr.studies.scheduler.outcome import add_seconds, write_divergence
from sglr.studies.scheduler.trial import Trial

if TYPE_CHECKING:
    from sglr.core.data import Dataset
    from sglr.core.events import Event

log = logging.getLogger(__name__)

ORPHAN_SECONDS = 60.0
"""How long to wait for a process of a study that was killed, which may still be writing its checkpoint."""


def train_one(
    trial: Trial,
    stop: Callable[[], bool],
    datasets: Datasets,
    observe: Callable[[Event], None] = lambda _: None,
) -> None:
    """Train a trial to its end.

    Parameters
    ----------
    trial
        The trial; a stopped one goes on.
    stop
        Asked after every step; True ends the training with a checkpoint.
    datasets
        Gives the data set.
    observe
        Told of every event of the run.

    Raises
    ------
    Interrupted
        If ``stop`` answered True.
    """
    if stop():
        raise Interrupted("stopped between two trials")
    wait_until_free(trial.path, ORPHAN_SECONDS, stop)
    _remove_beginnings(trial.path)
    try:
        with _timed(trial.path):
            run = _train(trial, datasets.of(trial.experiment), observe, stop)
    except DivergedError as error:
        write_divergence(trial.path, str(error))
        return
    if not trial.keep_checkpoints:
        _drop_checkpoints(run)


def _train(trial: Trial, dataset: Dataset, observe: Callable[[Event], None], stop: Callable[[], bool]) -> Run:
    path, experiment, given = trial.path, trial.experiment, replace(trial.given or PartOverrides(), dataset=dataset)
    if not (path / CONFIG).is_file():
        return execute(
            experiment,
            path,
            given=given,
            observe=observe,
            stop=stop,
            ready=lambda _: None,  # what looks wrong with the data was told before the first trial
            warn=log.info,
            command=trial.command,
        )
    if Run.open(path).experiment.fingerprint() != experiment.fingerprint():
        raise UsageError("out", path, "holds a run of another configuration", "choose another folder")
    return resume(
        path,
        method=given.method,
        model=experiment.model if given.model is None else given.model,
        task=experiment.task if given.task is None and ":" in experiment.task else given.task,
        metrics=experiment.own_metrics,
        dataset=dataset,
        track=experiment.track,
        observe=observe,
        stop=stop,
        say=log.warning,
    )


def _remove_beginnings(path: Path) -> None:
    """Remove a folder that was begun by a process that was killed before its settings were whole."""
    if path.is_dir() and not is_file(path / CONFIG) and all(own.name.startswith(".") for own in path.iterdir()):
        shutil.rmtree(path)


@contextmanager
def _timed(path: Path) -> Iterator[None]:
    """Add the seconds that pass to those that the run took before."""
    started = time.perf_counter()
    try:
        yield
    finally:
        add_seconds(path, time.perf_counter() - started)


def _drop_checkpoints(run: Run) -> None:
    """Keep the best checkpoint only: a study would fill the disk with the others."""
    best = run.path / "checkpoints" / "best.safetensors"
    if best.is_file():
        for path in run.checkpoints:
            path.unlink()
