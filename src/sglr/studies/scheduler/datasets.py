"""The data set of one experiment after another, loaded again only where it is another one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from sglr.assembly.client_data import load
from sglr.assembly.kept_model import HF
from sglr.runs.config import Experiment

if TYPE_CHECKING:
    from sglr.core.data import Dataset


class Datasets:
    """Loads data sets and keeps the last one.

    Parameters
    ----------
    given
        The data set, if it was given as an object.
    """

    def __init__(self, given: Dataset | None = None) -> None:
        self.given = given
        self._name = ""
        self._last: Dataset | None = None

    def of(self, experiment: Experiment) -> Dataset:
        """Return the data set of an experiment.

        Raises
        ------
        UsageError
            If it can't be loaded.
        """
        if self.given is not None:
            return self.given
        where = [experiment.dataset, str(experiment.data_dir), experiment.dataset_parameters, experiment.task]
        where += [experiment.model] if experiment.model.startswith(HF) else []  # whose tokenizer reads texts
        name = json.dumps(where, default=str)
        if self._last is None or name != self._name:
            self._last = load(experiment)
            self._name = name
        return self._last

    def forget(self) -> None:
        """Drop what was loaded, where other processes load it for themselves."""
        self._last = None
