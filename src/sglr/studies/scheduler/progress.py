"""What a study tells its observers: which trial begins, and how many are done."""

from __future__ import annotations

from dataclasses import dataclass

from sglr.studies.scheduler.outcome import Outcome
from sglr.studies.scheduler.trial import Trial


@dataclass(frozen=True)
class TrialStarted:
    """A trial begins in this process; the events of its run follow."""

    trial: Trial


@dataclass(frozen=True)
class StudyProgress:
    """How far a study is: told when it begins, and whenever a trial is over.

    Parameters
    ----------
    done, total
        Trials that are over, and all trials.
    found
        How many of those that are over were so before the study began.
    trial, outcome
        The trial that is over, and what became of it; None when the study begins.
    """

    done: int
    total: int
    found: int
    trial: Trial | None = None
    outcome: Outcome | None = None
