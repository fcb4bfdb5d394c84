"""Trackio: a database on this machine, or a Hugging Face Space."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal
from uuid import uuid4

from sglr.runs.folder import Run
from sglr.runs.tracker import (
    ARTEFACTS,
    Artefacts,
    Tracker,
    artefacts_of,
    figures,
    settings_told,
    summary_figures,
    title,
)

__all__ = ["Trackio"]


@dataclass
class Trackio(Tracker):
    """Log to Trackio, which finds a run again by its name: it gets one that no other has."""

    package: ClassVar[str] = "trackio"
    extra: ClassVar[str] = "trackio"

    project: str = field(default="sglr", metadata={"help": "project"})
    space: str | None = field(
        default=None, metadata={"help": "a Hugging Face Space, USER/NAME; default: this machine, in $TRACKIO_DIR"}
    )
    artefacts: Artefacts = field(default="none", metadata={"help": ARTEFACTS})
    _session: Any = field(default=None, init=False, repr=False)

    def begin(self, run: Run, known: str | None) -> str:
        """Begin the run, or go on with it."""
        import trackio

        name = known or f"{title(run)}-{uuid4().hex[:6]}"
        self._session = trackio.init(
            self.project,
            name=name,
            space_id=self.space,
            config=settings_told(run),
            resume="allow",
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
        )
        return name

    def log(self, record: Mapping[str, Any]) -> None:
        """Log the figures; the step is the epoch."""
        self._session.log(figures(record), step=record["epoch"])

    def finish(self, run: Run) -> None:
        """Log the summary's figures at the last epoch, and send the artefacts."""
        self._session.log(summary_figures(run), step=len(run.history))
        for path in artefacts_of(run, self.artefacts):
            self._session.log_artifact(path)

    def close(self, outcome: Literal["done", "stopped", "failed"]) -> None:
        """Send what is left."""
        del outcome
        session, self._session = self._session, None
        if session is not None:
            import trackio

            trackio.finish()  # the session's own finish would be called again when the process ends, and print
