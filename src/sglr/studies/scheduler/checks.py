"""Checks before the first trial trains: every distinct model is built on every distinct data, and dropped."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from sglr.assembly.build import build
from sglr.assembly.cautions import cautions
from sglr.assembly.checks import check_installed
from sglr.assembly.parts import PartOverrides
from sglr.assembly.task import task_name
from sglr.core.errors import UsageError
from sglr.cost.power_sources import power_sources
from sglr.cost.profiles import load_profile
from sglr.experiment.tracking import Tracking
from sglr.runs.config import Experiment, named
from sglr.studies.scheduler.datasets import Datasets
from sglr.studies.scheduler.processes import default_jobs
from sglr.studies.scheduler.trial import Trial
from sglr.system.device import pick_device
from sglr.system.extras import require

if TYPE_CHECKING:
    from sglr.assembly.parts import Training

log = logging.getLogger(__name__)


def check_request(trials: Sequence[Trial], jobs: int | None, ray_address: str | None, datasets: Datasets) -> None:
    """Refuse trials that cannot be trained where they were asked to be.

    Raises
    ------
    UsageError
        If ``jobs`` is not positive, or an object would have to be sent to other processes or machines.
    """
    if jobs is not None and jobs < 1:
        raise UsageError("jobs", jobs, "is not positive", "give 1 or more")
    for trial in trials:
        check_installed(trial.experiment)
    if ray_address is not None:
        require("ray", "ray_address", ray_address)
    if not trials:
        return
    if ray_address is not None and datasets.given is not None:
        problem = "was given as a Python object, and machines of a cluster load what they train on"
        raise UsageError(
            "dataset", trials[0].experiment.dataset, problem, "name the data set, or leave out ray_address"
        )
    workers = default_jobs(trials[0].experiment.device) if jobs is None else jobs
    if ray_address is not None or workers > 1:
        for trial in trials:
            trial.by_name()


def check_builds(
    trials: Sequence[Trial],
    datasets: Datasets,
    *,
    elsewhere: bool = False,
    loaded: Callable[[Experiment, Training], None] | None = None,
    warn: Callable[[str], None] | None = None,
) -> None:
    """Build every trial whose parts differ from those built before, and drop it; warn of what looks wrong with data.

    Parameters
    ----------
    trials
        What is to be trained.
    datasets
        Gives the data sets.
    elsewhere
        Whether other machines train, so that this one need not have the device.
    loaded
        Called with the first that is built.
    warn
        Told of settings that are known to fail, once for every label; None leaves that to the runs' logs.

    Raises
    ------
    UsageError
        If one can't be built, with the trial's label, or two learn different tasks, whose scores can't be compared.
    """
    seen: set[str] = set()
    tasks: dict[str, str] = {}
    notes: dict[str, None] = {}
    for trial in trials:
        experiment = trial.experiment
        if elsewhere:
            experiment = experiment.model_copy(update={"device": "cpu"})
        parts = _parts(experiment) if warn is None else trial.label
        if parts in seen:
            continue
        try:
            built = _built(experiment, trial.given or PartOverrides(), datasets)
        except UsageError as error:
            problem = f"{error.problem} (in the configuration {trial.label})"
            raise UsageError(error.field, error.value, problem, error.remedy) from error
        tasks.setdefault(task_name(experiment), trial.label)
        if len(tasks) > 1:
            (one, first), (other, _) = tasks.items()
            problem = f"{trial.label} learns {other}, and {first} learns {one}: their scores can't be compared"
            raise UsageError("task", other, problem, "give all the same task")
        if loaded is not None and not seen:
            loaded(experiment, built)
        seen.add(parts)
        notes.update(dict.fromkeys(built.data.notes))
        if warn is not None:
            for caution in cautions(experiment, built.method, built.data):
                warn(caution)
    for note in notes:
        log.warning("%s", note)


def _built(experiment: Experiment, given: PartOverrides, datasets: Datasets) -> Training:
    load_profile(experiment.energy_profile)
    if experiment.energy:
        power_sources(pick_device(experiment.device))
    Tracking.of(experiment.track)
    built = build(experiment, replace(given, dataset=datasets.of(experiment)))
    built.trainer.engine.close(done=False)
    return built


def _parts(experiment: Experiment) -> str:
    ignored = named(build=False) | experiment.method_parameters.keys()
    return json.dumps({key: value for key, value in experiment.flat().items() if key not in ignored}, default=str)
