"""Train many experiments side by side, each once: finished ones are found again, stopped ones go on.

Every experiment has a run folder named after the hash of its settings, so that whoever asks for the same cell shares
its run, and an interrupted sweep goes on where it stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from sglr.runs.config import Experiment
from sglr.studies.scheduler.outcome import Outcome, read_outcome
from sglr.studies.scheduler.processes import default_jobs, train_here
from sglr.studies.scheduler.progress import SweepProgress
from sglr.studies.scheduler.ray_tasks import train_on_cluster

if TYPE_CHECKING:
    from sglr.core.data import Dataset


def train_all(
    experiments: Iterable[Experiment],
    folder: Path,
    *,
    jobs: int | None = 1,
    ray_address: str | None = None,
    observe: Callable[[SweepProgress], None] = lambda _: None,
    stop: Callable[[], bool] = lambda: False,
    dataset: Dataset | None = None,
) -> dict[str, Outcome]:
    """Train experiments in folders of their own inside ``folder``, each once.

    Parameters
    ----------
    experiments
        What to train; equal settings are trained once.
    folder
        Where; runs that are finished there already are not repeated.
    jobs
        Processes that train side by side; 1 trains in this process. On a cluster the most tasks at a time; None leaves
        it to the cluster, and is one per core or GPU here.
    ray_address
        The Ray cluster that trains: ``"auto"`` or ``HOST:PORT``; None trains on this machine.
    observe
        Told whenever an experiment is over.
    stop
        Asked again and again; True ends the sweep with checkpoints.
    dataset
        The data set, if it was given as an object; not on a cluster.

    Returns
    -------
    dict
        Outcomes by fingerprint of the settings.

    Raises
    ------
    UsageError
        If runs in the folder were made by another version, or there is no such cluster.
    Interrupted
        If ``stop`` answered True.
    """
    unique = {experiment.fingerprint(): experiment for experiment in experiments}
    found = {key: outcome for key in unique if (outcome := read_outcome(unique[key], folder / key)) is not None}
    pending = [unique[key] for key in unique if key not in found]
    before, total = len(found), len(unique)
    if total:
        observe(SweepProgress(before, total, before))
    if not pending:
        return found
    if ray_address is not None:
        trained = train_on_cluster(pending, folder, ray_address, jobs, stop)
    else:
        workers = default_jobs(pending[0].device) if jobs is None else jobs
        trained = train_here(pending, folder, workers, stop, dataset)
    for experiment in trained:
        outcome = read_outcome(experiment, folder / experiment.fingerprint())
        assert outcome is not None, "a trained experiment has a summary or has diverged"
        found[experiment.fingerprint()] = outcome
        observe(SweepProgress(len(found), total, before))
    return found
