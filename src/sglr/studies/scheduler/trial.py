"""A trial: one configuration with one seed, and the folder of its run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

from sglr.core.errors import UsageError
from sglr.runs.config import Experiment
from sglr.runs.folder import CONFIG, Run
from sglr.storage.files import is_file

if TYPE_CHECKING:
    from sglr.assembly.parts import PartOverrides

RECORDED = ("leakage", "energy", "energy_profile")
"""Settings of which nothing but what a run records follows, so that its fingerprint lacks them."""


@dataclass(frozen=True)
class Trial:
    """One configuration with one seed.

    Parameters
    ----------
    label
        The configuration's name, such as ``"sglr:phi=0.5"``; trials that differ only in the seed share it.
    experiment
        The settings.
    path
        The folder of the run.
    given
        Parts that were given as objects; None if none was.
    command
        The command that was typed, for the run's report.
    keep_checkpoints
        Whether a finished run keeps all its checkpoints; otherwise it keeps the best one.
    """

    label: str
    experiment: Experiment
    path: Path
    given: PartOverrides | None = None
    command: str = ""
    keep_checkpoints: bool = False

    @classmethod
    def of(cls, experiment: Experiment, folder: Path, label: str = "") -> Self:
        """Return the trial of an experiment whose run folder, inside ``folder``, is named by its fingerprint."""
        return cls(label or experiment.name or experiment.method, experiment, folder / experiment.fingerprint())

    @property
    def seed(self) -> int:
        """The seed."""
        return self.experiment.seed

    def check_recorded(self) -> None:
        """Refuse a run that was begun in this folder to record something else: it would be taken as it is.

        Raises
        ------
        UsageError
            If it was.
        """
        if not is_file(self.path / CONFIG):
            return
        # Flat settings are read in a twentieth of the time that checked ones take: a sweep may hold thousands of runs.
        there, here = Run(self.path).settings, self.experiment.flat()
        for name in RECORDED:
            before, now = (own.get(name, Experiment.model_fields[name].default) for own in (there, here))
            if before != now:
                problem = f"the run in {self.path} was begun with {name} = {before}, and would be taken as it is"
                raise UsageError(name, now, problem, "give what it was begun with, or another folder")

    def by_name(self) -> Self:
        """Return the trial as it is sent to other processes: every part but the data set by its name.

        Raises
        ------
        UsageError
            If the method, the model or the task is an object without a registered name.
        """
        for name in ("method", "model", "task"):
            value = str(getattr(self.experiment, name))
            if value.startswith("<"):
                problem = "was given as a Python object, which cannot be sent to other processes"
                raise UsageError(name, value, problem, "train with jobs=1, or give the part by its name")
        return replace(self, given=None)

    def with_one_thread(self) -> Self:
        """Return the trial for several that train side by side: on one core, unless its settings say otherwise."""
        if self.experiment.threads is not None:
            return self
        return replace(self, experiment=self.experiment.model_copy(update={"threads": 1}))
