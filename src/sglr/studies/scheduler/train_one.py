"""One experiment of a study, brought to its end from wherever its run folder stands."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sglr.assembly.parts import PartOverrides
from sglr.core.errors import DivergedError, Interrupted, UsageError
from sglr.experiment.train import execute, resume
from sglr.runs.config import Experiment
from sglr.runs.folder import CONFIG, Run
from sglr.storage.files import is_file
from sglr.storage.lock import wait_until_free
from sglr.studies.scheduler.datasets import Datasets
from sglr.studies.scheduler.outcome import add_seconds, write_divergence

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sglr.core.data import Dataset

log = logging.getLogger(__name__)

ORPHAN_SECONDS = 60.0
"""How long to wait for a process of a study that was killed, which may still be writing its checkpoint."""


def train_one(experiment: Experiment, folder: Path, stop: Callable[[], bool], datasets: Datasets) -> None:
    """Train an experiment to its end, in a run folder inside ``folder`` that is named by its fingerprint.

    Parameters
    ----------
    experiment
        The settings.
    folder
        Where its run folder is, or will be.
    stop
        Asked after every step; True ends the training with a checkpoint.
    datasets
        Gives the data set.

    Raises
    ------
    Interrupted
        If ``stop`` answered True.
    """
    if stop():
        raise Interrupted("stopped between two experiments")
    path = folder / experiment.fingerprint()
    wait_until_free(path, ORPHAN_SECONDS, stop)
    if path.is_dir() and not is_file(path / CONFIG):
        shutil.rmtree(path)  # killed before its settings were whole
    try:
        with _timed(path):
            run = _train(experiment, path, stop, datasets.of(experiment))
    except DivergedError as error:
        write_divergence(path, str(error))
    else:
        _drop_checkpoints(run)


def _train(experiment: Experiment, path: Path, stop: Callable[[], bool], dataset: Dataset) -> Run:
    if not (path / CONFIG).is_file():
        given = PartOverrides(dataset=dataset)
        # A study tries what may fail, so that cautions are no warnings.
        return execute(experiment, path, given=given, stop=stop, ready=lambda _: None, warn=log.info)
    if Run.open(path).experiment.fingerprint() != experiment.fingerprint():
        raise UsageError("out", path, "holds a run of another configuration", "choose another folder")
    return resume(path, model=experiment.model, dataset=dataset, stop=stop, say=log.warning)


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
