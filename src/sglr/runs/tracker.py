"""What a tracker is: a program that keeps the figures of many runs, such as TensorBoard or MLflow, and is told of one.

A tracker changes no result. What it raises never reaches the training: `sglr.experiment.tracking` calls it.
"""

from __future__ import annotations

import dataclasses
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from sglr.runs.folder import BEST, CHECKPOINTS, SUMMARY, Run
from sglr.system.extras import optional

Artefacts = Literal["none", "report", "checkpoints", "all"]
ARTEFACTS = "files that are sent when the run is finished: the report with the summary, checkpoints, or both"

REPORT = "report.html"
SECRET = frozenset({"track"})
"""Settings that no tracker is told: an address in them may hold a password."""

FINGERPRINT = re.compile("[0-9a-f]{12,}")

GROUPS = ("test", "validation", "communication", "computation", "energy", "leakage", "parameters")
TOTALS = ("epochs_done", "seconds", "training_seconds", "samples_per_second")
"""What of a run's summary is told; the rest is settings, or describes the machine."""


@dataclass
class Tracker(ABC):
    """Tells one tracker of one run; its fields are the options of ``--track``.

    It is called in this order: `check`, `begin`, `log` after every epoch, `finish` if the run came to its end, `close`.
    It may raise anything, and is then closed; near the end of the run it is begun once more.

    Attributes
    ----------
    package, extra
        The package that it needs, and the extra of sglr that installs it; None needs none.
    """

    package: ClassVar[str | None] = None
    extra: ClassVar[str] = "track"

    def check(self) -> None:
        """Refuse what can't work, before any work is done.

        Raises
        ------
        UsageError
            If the package can't be imported, or an option is wrong.
        """
        if self.package is not None:
            optional(self.package, self.extra, "track", self.package)

    def place(self) -> dict[str, str]:
        """Return the options that say where figures go: with others, a resumed run is a new one to the tracker."""
        fields = [field.name for field in dataclasses.fields(self) if field.init and field.name != "artefacts"]
        return {name: str(getattr(self, name)) for name in fields}

    @abstractmethod
    def begin(self, run: Run, known: str | None) -> str:
        """Open the tracker's run, and tell it the settings.

        Parameters
        ----------
        run
            The run.
        known
            What this returned when the run began, if it is resumed.

        Returns
        -------
        str
            By which the tracker's run is found again.
        """

    @abstractmethod
    def log(self, record: Mapping[str, Any]) -> None:
        """Tell the figures of an epoch; ``record`` is its line in ``metrics.jsonl``, with ``epoch`` counted from 1."""

    @abstractmethod
    def finish(self, run: Run) -> None:
        """Tell the summary of a finished run, and send the artefacts that were asked for."""

    @abstractmethod
    def close(self, outcome: Literal["done", "stopped", "failed"]) -> None:
        """Send what is left, and let go; `begin` may follow. Nothing is open if `begin` raised."""


def title(run: Run) -> str:
    """Return what a tracker calls a run: its name, or that of its folder; in a sweep, method, seed and fingerprint."""
    settings, folder = run.settings, run.path.resolve().name
    if FINGERPRINT.fullmatch(folder):  # alone it says nothing to people
        folder = f"{settings.get('method')}-seed{settings.get('seed')}-{folder[:6]}"
    return str(settings.get("name") or folder)


def settings_told(run: Run) -> dict[str, Any]:
    """Return the run's settings, without what may hold a password."""
    return {key: value for key, value in run.settings.items() if key not in SECRET}


def figures(record: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers of an epoch's record but for its epoch, which is the step that they belong to."""
    return {name: value for name, value in _numbers(record, "") if name != "epoch"}


def summary_figures(run: Run) -> dict[str, float]:
    """Return the numbers of a finished run's summary by their path in it, such as ``"test/accuracy"``.

    Those that are in no group are under ``"summary/"``: an epoch has ``seconds``, too.
    """
    summary = run.summary or {}
    groups = {name: summary[name] for name in GROUPS if name in summary}
    totals = {name: summary[name] for name in TOTALS if name in summary}
    return dict(_numbers({**groups, "summary": totals}, ""))


def artefacts_of(run: Run, wanted: Artefacts) -> list[Path]:
    """Return the files that a tracker is sent: the report and summary, the best and the last checkpoint."""
    found: list[Path] = []
    if wanted in ("report", "all"):
        found += [run.path / REPORT, run.path / SUMMARY]
    if wanted in ("checkpoints", "all"):
        found += [run.path / CHECKPOINTS / BEST, *run.checkpoints[-1:]]
    return [path for path in found if path.is_file()]


def _numbers(values: Mapping[str, Any], before: str) -> Iterator[tuple[str, float]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _numbers(value, f"{before}{name}/")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield f"{before}{name}", value
