"""Checked before the first run of a sweep trains: every distinct model, on every distinct data, is built."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sglr.assembly.build import build
from sglr.assembly.parts import PartOverrides
from sglr.core.errors import UsageError
from sglr.cost.power_sources import power_sources
from sglr.cost.profiles import load_profile
from sglr.runs.config import Experiment, named
from sglr.studies.scheduler.datasets import Datasets
from sglr.studies.sweeps.configuration import Configuration
from sglr.system.device import pick_device

if TYPE_CHECKING:
    from sglr.core.data import Dataset

log = logging.getLogger(__name__)


def check_builds(
    configurations: Sequence[Configuration], *, elsewhere: bool = False, dataset: Dataset | None = None
) -> None:
    """Build every configuration whose parts differ from those built before, with its first seed, and drop it.

    What looks wrong with their data is warned of once.

    Parameters
    ----------
    configurations
        What is to be trained.
    elsewhere
        Whether other machines train it, so that this one need not have the device.
    dataset
        The data set, if it was given as an object.

    Raises
    ------
    UsageError
        If one can't be built, with the configuration's label.
    """
    seen: set[str] = set()
    datasets = Datasets(dataset)
    notes: dict[str, None] = {}
    for one in configurations:
        experiment = one.experiments[0]
        if elsewhere:
            experiment = experiment.model_copy(update={"device": "cpu"})
        parts = _parts(experiment)
        if parts in seen:
            continue
        seen.add(parts)
        try:
            _check_energy(experiment)
            built = build(experiment, PartOverrides(dataset=datasets.of(experiment)))
            built.trainer.engine.close(done=False)
            notes.update(dict.fromkeys(built.data.notes))
        except UsageError as error:
            problem = f"{error.problem} (in the configuration {one.label})"
            raise UsageError(error.field, error.value, problem, error.remedy) from error
    for note in notes:
        log.warning("%s", note)


def _check_energy(experiment: Experiment) -> None:
    load_profile(experiment.energy_profile)
    if experiment.energy:
        power_sources(pick_device(experiment.device))


def _parts(experiment: Experiment) -> str:
    ignored = named(build=False) | experiment.method_parameters.keys()
    return json.dumps({key: value for key, value in experiment.flat().items() if key not in ignored}, default=str)
