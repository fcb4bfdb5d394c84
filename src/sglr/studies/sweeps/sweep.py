"""Train all configurations of a grid, each once for every seed, and write one table and one report over them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sglr.core.data import Dataset
from sglr.core.errors import Interrupted, UsageError
from sglr.data.digest import entry_of
from sglr.data.objects.read import settle_dataset
from sglr.report.sweep import write_sweep_report
from sglr.runs.config import Experiment
from sglr.runs.folder import CONFIG, write_command
from sglr.runs.new_folder import folder_of_runs, refuse_single_run
from sglr.storage.files import write_text
from sglr.studies.notebook_progress import study_shown
from sglr.studies.scheduler.checks import check_builds, check_request
from sglr.studies.scheduler.datasets import Datasets
from sglr.studies.scheduler.outcome import read_outcome
from sglr.studies.scheduler.run_all import Observer, run_all
from sglr.studies.scheduler.trial import Trial
from sglr.studies.sweeps.configuration import Configuration
from sglr.studies.sweeps.grid import Grid
from sglr.studies.sweeps.results import Sweep, make_row

GRID_FILE, TRIALS = "grid.toml", "cells"
LIMIT = 1000
"""Runs that a grid may have unless more are allowed: a list too many multiplies them."""


@dataclass(frozen=True)
class SweepPlan:
    """A sweep that was checked and can begin.

    Parameters
    ----------
    grid, configurations
        What was asked for, and what it comes down to.
    folder
        Where it will be.
    dataset
        The data set, if it was given as an object.
    """

    grid: Grid
    configurations: Sequence[Configuration]
    folder: Path
    dataset: Dataset | None = None

    @property
    def experiments(self) -> list[Experiment]:
        """All experiments, those of one configuration together."""
        return [experiment for one in self.configurations for experiment in one.experiments]

    @property
    def trials(self) -> list[Trial]:
        """All trials, in the order of `experiments`."""
        folder = self.folder / TRIALS
        return [Trial.of(own, folder, one.label) for one in self.configurations for own in one.experiments]

    def state(self, experiment: Experiment) -> str:
        """Return how far an experiment is: ``"new"``, ``"stopped"``, ``"done"`` or ``"diverged"``."""
        path = self.folder / TRIALS / experiment.fingerprint()
        outcome = read_outcome(experiment, path)
        if outcome is None:
            return "stopped" if (path / CONFIG).is_file() else "new"
        return "done" if outcome.problem is None else "diverged"


def sweep(
    grid: str | Path | Mapping[str, Any],
    *,
    out: str | Path | None = None,
    jobs: int | None = None,
    ray_address: str | None = None,
    limit: int = LIMIT,
    observe: Observer | None = None,
    stop: Callable[[], bool] = lambda: False,
    command: str = "",
    **settings: Any,
) -> Sweep:
    """Train all configurations of a grid, and compare what comes out.

    Each is trained once for every seed, in a run folder of its own. What is finished is not repeated and what was
    stopped goes on: the same call again continues a sweep, and a longer grid adds to it. A run that diverges is
    reported, and does not stop the others.

    Parameters
    ----------
    grid
        A TOML file, or a mapping like its content: shared settings, ``"grid"`` with lists of values whose combinations
        are the configurations (``"seed"`` repeats them), ``"case"`` with single configurations.
    out
        Folder of the sweep; default ``runs/sweep-<name of the file>``.
    jobs
        Processes that train side by side; None is one per core on a CPU, one on a GPU, and on a cluster as many as it
        has room for.
    ray_address
        The Ray cluster on whose machines to train: ``"auto"`` for the one that runs here, or ``HOST:PORT``; each needs
        sglr and the data. None trains in processes of this machine.
    limit
        Most runs that the grid may have.
    observe
        Called with `sglr.studies.scheduler.progress.StudyProgress` whenever a run is over. With one job it is also
        called with `sglr.studies.scheduler.progress.TrialStarted`, and with every event of a run.
        None shows the progress in a notebook.
    stop
        Asked again and again; True ends the sweep with checkpoints.
    command
        The command that was typed, for the reports.
    **settings
        As for `sglr.train`; they win over the shared settings.

    Raises
    ------
    UsageError
        If anything about the grid is wrong, before anything is trained, or the folder holds something else.
    Interrupted
        If ``stop`` answered True.

    Examples
    --------
    >>> import sglr
    >>> grid = {"epochs": 5, "grid": {"method": ["psl", "sglr:phi=0.5"], "lr": [0.001, 0.01], "seed": [0, 1, 2]}}
    >>> result = sglr.sweep(grid, out="runs/rates")  # doctest: +SKIP
    >>> [(row["label"], row["test"]["accuracy"]) for row in result.rows]  # doctest: +SKIP
    """
    planned = plan(grid, out=out, limit=limit, **settings)
    folder, trials, datasets = planned.folder, planned.trials, Datasets(planned.dataset)
    check_request(trials, jobs, ray_address, datasets)
    check_builds(trials, datasets, elsewhere=ray_address is not None)
    with folder_of_runs(folder):
        write_text(folder / GRID_FILE, planned.grid.to_toml())
        write_command(folder, command)
        try:
            outcomes = run_all(
                trials,
                jobs=jobs,
                ray_address=ray_address,
                observe=observe or study_shown(),
                stop=stop,
                datasets=datasets,
            )
        except Interrupted:
            raise Interrupted(f"stopped; the same sweep again with out = {folder} goes on from there") from None
        own = iter(outcomes)
        rows = [make_row(one, [next(own) for _ in one.experiments], folder) for one in planned.configurations]
        result = Sweep(folder, rows).write()
        write_sweep_report(folder, result.record(), command)
        return result


def plan(
    grid: str | Path | Mapping[str, Any], *, out: str | Path | None = None, limit: int = LIMIT, **settings: Any
) -> SweepPlan:
    """Return what a sweep would train, each experiment checked as far as that goes without data.

    Raises
    ------
    UsageError
        If anything about the grid is wrong, or the folder holds something else.
    """
    settings = settle_dataset(settings)
    dataset = settings["dataset"] if isinstance(settings.get("dataset"), Dataset) else None
    if dataset is not None:
        settings["dataset"] = entry_of(dataset)
    read = Grid.read(grid, settings)
    name = "grid" if isinstance(grid, Mapping) else re.sub(r"[^A-Za-z0-9._-]+", "-", Path(grid).stem)
    folder = Path(out) if out is not None else Path("runs") / f"sweep-{name}"
    _check_folder(folder)
    planned = SweepPlan(read, read.configurations(limit), folder, dataset)
    for experiment in planned.experiments:
        planned.state(experiment)
    for trial in planned.trials:
        trial.check_recorded()
    return planned


def _check_folder(folder: Path) -> None:
    refuse_single_run(folder, "the sweep")
    if not folder.is_dir() or (folder / GRID_FILE).is_file():
        return
    # A sweep that was killed at once leaves a folder with nothing but a half-written file.
    if any(not path.name.startswith(".") for path in folder.iterdir()):
        raise UsageError("out", folder, "is a folder with other files in it", "choose a new or empty folder")
