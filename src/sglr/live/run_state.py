"""What a run does at the moment, as its folder tells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sglr.live.plain_values import text
from sglr.runs.stop_file import requested_stop
from sglr.storage.lock import is_locked

RUNNING = ("starting", "waiting", "training", "testing", "stopping")
"""States of a run that a process works on."""

OVER = ("finished", "diverged")
"""States of a run that nobody goes on with."""


@dataclass(frozen=True)
class RunState:
    """The state of a run.

    Parameters
    ----------
    name
        One of `RUNNING` or `OVER`, ``"stopped"``, ``"failed"``, or ``"interrupted"``: the process that trained is gone,
        and did not say why.
    why
        The reason, or what it waits for.
    stops_after
        ``"step"`` or ``"epoch"`` if it was asked to stop; else None.
    """

    name: str
    why: str = ""
    stops_after: str | None = None

    @property
    def running(self) -> bool:
        """True if a process works on it."""
        return self.name in RUNNING


def read_state(
    folder: Path,
    summary: Mapping[str, Any],
    diverged: Mapping[str, Any],
    progress: Mapping[str, Any],
    status: Mapping[str, Any],
) -> RunState:
    """Return the state of a run, from the content of its files; empty where there is none."""
    if summary:
        return RunState("finished", text(summary.get("stopped")))
    if diverged:
        return RunState("diverged", text(diverged.get("problem")))
    if is_locked(folder):
        return _running(folder, progress, status)
    told, why = progress.get("state"), text(progress.get("why"))
    if told in ("stopped", "failed"):
        return RunState(str(told), why)
    if told is None and not status:
        return RunState("interrupted", "it has not finished, and no process works on it")
    return RunState("interrupted", "the process that trained it is gone")


def _running(folder: Path, progress: Mapping[str, Any], status: Mapping[str, Any]) -> RunState:
    after = requested_stop(folder) or progress.get("stops_after")
    if after in ("step", "epoch"):
        return RunState("stopping", f"stops after this {after}", str(after))
    if status.get("state") == "waiting":
        return RunState("waiting", text(status.get("why")))
    told = progress.get("state")
    return RunState(str(told) if told in ("training", "testing") else "starting")
