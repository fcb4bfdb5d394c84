"""What became of one trial, as its run folder tells."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from sglr.core.errors import UsageError
from sglr.inference.run import Run
from sglr.report.score_style import headline, test_score
from sglr.runs.config import Experiment
from sglr.runs.folder import CONFIG, SUMMARY, damage_explained
from sglr.storage.files import is_file, write_text
from sglr.storage.json_files import read_object
from sglr.version import __version__

DIVERGED, SECONDS = "diverged.json", "share.json"


@dataclass(frozen=True)
class Outcome:
    """What became of one experiment.

    Parameters
    ----------
    experiment
        Its settings.
    run
        Its run folder.
    problem
        How it diverged; None if it finished.
    """

    experiment: Experiment
    run: Run
    problem: str | None

    @cached_property
    def accuracy(self) -> float | None:
        """The test accuracy of a classification in [0, 1]; None if it diverged."""
        summary = self.run.summary
        return None if self.problem is not None or summary is None else float(summary["test"]["accuracy"])

    @cached_property
    def score(self) -> float | None:
        """The test's headline score, a mean over clients; None if it diverged or no client has one."""
        summary = self.run.summary
        if self.problem is not None or summary is None:
            return None
        mean = test_score(summary["test"], headline(summary["test"]).name)["mean"]
        return None if mean is None else float(mean)

    @property
    def seconds(self) -> float:
        """The time it took, from start to end and in every continuation."""
        return _seconds(self.run.path)


def read_outcome(experiment: Experiment, path: Path, *, any_version: bool = False) -> Outcome | None:
    """Return the outcome of an experiment that is over, or None.

    Raises
    ------
    UsageError
        If its record is damaged, or another version of sglr made it, unless ``any_version`` may have.
    """
    if not is_file(path / CONFIG):
        return None
    run = Run.open(path)
    with damage_explained(path, "remove that run"):
        record = read_object(path / DIVERGED) or run.summary
        if record is None:
            return None
        version = None if any_version else record["versions"]["sglr"]
    if version not in (None, __version__):
        problem = f"was made by sglr {version}, and this is {__version__}"
        raise UsageError("out", path, problem, "give another folder, or remove that run")
    return Outcome(experiment, run, record.get("problem"))


def is_over(path: Path) -> bool:
    """Say whether the run in a folder has finished or diverged."""
    return (path / SUMMARY).is_file() or (path / DIVERGED).is_file()


def write_divergence(path: Path, problem: str) -> None:
    """Record that a run diverged, so that it is not trained again."""
    record = {"problem": problem, "versions": {"sglr": __version__}}
    write_text(path / DIVERGED, json.dumps(record, indent=2) + "\n")


def add_seconds(path: Path, seconds: float) -> None:
    """Add time that a run took to what it took before; where there is no folder, nothing was done."""
    if path.is_dir():
        write_text(path / SECONDS, json.dumps({"seconds": _seconds(path) + seconds}) + "\n")


def _seconds(path: Path) -> float:
    with damage_explained(path, f"delete its {SECONDS}"):
        return float((read_object(path / SECONDS) or {"seconds": 0.0})["seconds"])
