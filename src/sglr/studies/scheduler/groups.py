"""Groups of experiments that train at once, trials stacked beside one another's clients."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sglr.core.errors import Interrupted
from sglr.runs.config import Experiment
from sglr.runs.folder import CONFIG, Run
from sglr.storage.files import is_file
from sglr.storage.lock import wait_until_free
from sglr.studies.scheduler.outcome import share_out, write_divergence
from sglr.studies.scheduler.trial_batching import execute_together, may_stack, rows_wanted

if TYPE_CHECKING:
    from sglr.core.data import Dataset

ORPHAN_SECONDS = 60.0
"""How long to wait for a process of a sweep that was killed, which may still be writing its checkpoint."""

Group = tuple[Experiment, ...]
"""Experiments that train at once."""


def grouped(experiments: Sequence[Experiment]) -> list[Group]:
    """Put experiments together that gain from training at once, as many as their device has use for."""
    groups: list[list[Experiment]] = []
    for experiment in experiments:
        wanted = rows_wanted(experiment.device)
        fitting = (
            group
            for group in groups
            if may_stack(group[0], experiment) and sum(one.clients for one in group) + experiment.clients <= wanted
        )
        found = next(fitting, None)
        if found is None:
            groups.append([experiment])
        else:
            found.append(experiment)
    return [tuple(group) for group in groups]


def spread(groups: Sequence[Group], jobs: int) -> list[Group]:
    """Divide groups until there is one for every job, largest first: an idle core is worse than a smaller stack."""
    found = sorted(groups, key=len, reverse=True)
    while found and len(found) < jobs and len(found[0]) > 1:
        largest, half = found[0], len(found[0]) // 2
        found = sorted([largest[:half], largest[half:], *found[1:]], key=len, reverse=True)
    return found


def train_group(group: Group, folder: Path, stop: Callable[[], bool], dataset: Dataset | None = None) -> None:
    """Bring the experiments of a group to their ends, from wherever they stand.

    A data set that was given as an object is ``dataset``.

    Raises
    ------
    Interrupted
        If ``stop`` answered True.
    """
    if stop():
        raise Interrupted("stopped between two experiments")
    paths = [folder / experiment.fingerprint() for experiment in group]
    for path in paths:
        wait_until_free(path, ORPHAN_SECONDS, stop)
        if path.is_dir() and not is_file(path / CONFIG):
            shutil.rmtree(path)  # killed before its settings were whole
    started = time.perf_counter()
    try:
        results = execute_together(group, paths, stop=stop, dataset=dataset)
    finally:
        share_out(time.perf_counter() - started, paths)
    for path, result in zip(paths, results, strict=True):
        if isinstance(result, Run):
            _drop_checkpoints(result)
        else:
            write_divergence(path, str(result))


def _drop_checkpoints(run: Run) -> None:
    """Keep the best checkpoint only: a sweep would fill the disk with the others."""
    best = run.path / "checkpoints" / "best.safetensors"
    if best.is_file():
        for path in run.checkpoints:
            path.unlink()
