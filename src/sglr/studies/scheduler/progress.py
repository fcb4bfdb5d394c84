"""What a study tells its observers: which trial begins, and how many are done."""

from __future__ import annotations

from dataclasses import dataclass

from sglr.report.numbers import duration
from sglr.report.progress_lines import shown_with_name
from sglr.report.score_style import headline, test_score
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


def trial_name(trial: Trial, number: int, total: int) -> str:
    """Return which run of a study this is."""
    return f"[{number:>{len(str(total))}}/{total}] {trial.label}, seed {trial.seed}"


def study_line(event: StudyProgress) -> str:
    """Return the result of a run that is over; when a study begins, how many runs were done before, if any."""
    if event.trial is None or event.outcome is None:
        return f"{event.found} of {event.total} runs were done before" if event.found else ""
    name, summary = trial_name(event.trial, event.done, event.total), event.outcome.run.summary
    if event.outcome.problem is not None or summary is None:
        return f"{name}: diverged: {event.outcome.problem}"
    test = summary["test"]
    score = headline(test)
    return (
        f"{name}: test {shown_with_name(test_score(test, score.name)['mean'], score)} in {duration(summary['seconds'])}"
    )
