"""Progress of a study in a notebook: a bar over all its runs, and a line for every run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sglr.core.events import StepDone
from sglr.experiment.notebook_progress import NotebookProgress, in_notebook
from sglr.studies.scheduler.progress import StudyProgress, TrialStarted, study_line, trial_name


class StudyInNotebook(NotebookProgress):
    """Shows a study in a notebook."""

    def __init__(self) -> None:
        super().__init__()
        self._done, self._total, self._name = 0, 1, ""

    def observe(self, event: Any) -> None:
        """Move the bar, or add the line of a finished run."""
        if isinstance(event, TrialStarted):
            self._name = trial_name(event.trial, self._done + 1, self._total)
        elif isinstance(event, StudyProgress):
            self._done, self._total = event.done, event.total
            self.add(study_line(event), event.done / max(1, event.total))
        elif isinstance(event, StepDone):
            part = (event.epoch + event.step / event.steps) / event.epochs
            self.move((self._done + part) / self._total, f"{self._name}  epoch {event.epoch + 1}/{event.epochs}")


def study_shown() -> Callable[[Any], None]:
    """Return what shows a study's progress in a notebook; elsewhere it does nothing."""
    return StudyInNotebook().observe if in_notebook() else lambda _: None
