"""Bring all trials of a study to their ends, each once: finished ones are found again, stopped ones go on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from sglr.studies.scheduler.datasets import Datasets
from sglr.studies.scheduler.outcome import Outcome, read_outcome
from sglr.studies.scheduler.processes import default_jobs, train_here, train_in_processes
from sglr.studies.scheduler.progress import StudyProgress, TrialStarted
from sglr.studies.scheduler.ray_tasks import train_on_cluster
from sglr.studies.scheduler.trial import Trial

if TYPE_CHECKING:
    from sglr.core.events import Event

Observer = Callable[["Event | TrialStarted | StudyProgress"], None]
"""Told of a study's progress; where trials train in this process, of every event of their runs, too."""


def run_all(
    trials: Sequence[Trial],
    *,
    jobs: int | None = 1,
    ray_address: str | None = None,
    observe: Observer = lambda _: None,
    stop: Callable[[], bool] = lambda: False,
    datasets: Datasets | None = None,
    any_version: bool = False,
) -> list[Outcome]:
    """Train trials in their folders, each once.

    Parameters
    ----------
    trials
        What to train, in folders beside one another; trials of one folder are trained once.
    jobs
        Processes that train side by side; 1 trains in this process. On a cluster the most tasks at a time; None leaves
        it to the cluster, and is one per core or GPU here.
    ray_address
        The Ray cluster that trains: ``"auto"`` or ``HOST:PORT``; None trains on this machine.
    observe
        Told of progress.
    stop
        Asked again and again; True ends the study with checkpoints.
    datasets
        Gives the data sets; not on a cluster.
    any_version
        Whether runs that other versions of sglr finished count.

    Returns
    -------
    list of Outcome
        What became of each trial, in their order.

    Raises
    ------
    UsageError
        If a run was made by another version, there is no such cluster, or something can't be sent to processes.
    Interrupted
        If ``stop`` answered True.
    """
    unique = {trial.path: trial for trial in trials}
    found = {
        path: outcome
        for path, trial in unique.items()
        if (outcome := read_outcome(trial.experiment, path, any_version=any_version)) is not None
    }
    before, total = len(found), len(unique)
    if total:
        observe(StudyProgress(before, total, before))
    pending = [trial for path, trial in unique.items() if path not in found]
    for trial in _trained(pending, jobs, ray_address, observe, stop, datasets or Datasets()):
        outcome = read_outcome(trial.experiment, trial.path, any_version=any_version)
        assert outcome is not None, "a trial that is over has a summary or has diverged"
        found[trial.path] = outcome
        observe(StudyProgress(len(found), total, before, trial, outcome))
    return [found[trial.path] for trial in trials]


def _trained(
    trials: Sequence[Trial],
    jobs: int | None,
    ray_address: str | None,
    observe: Observer,
    stop: Callable[[], bool],
    datasets: Datasets,
) -> Iterator[Trial]:
    """Train trials; yield each when it is over."""
    if not trials:
        return iter(())
    workers = default_jobs(trials[0].experiment.device) if jobs is None else jobs
    if ray_address is not None or workers > 1:
        trials = [trial.by_name().with_one_thread() for trial in trials]
    if ray_address is not None:
        return train_on_cluster(trials, ray_address, jobs, stop)
    if workers == 1 or len(trials) == 1:
        return train_here(trials, observe, stop, datasets)
    return train_in_processes(trials, workers, stop, datasets)
