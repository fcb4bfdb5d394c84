"""Weights & Biases, online or offline."""

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

__all__ = ["WeightsAndBiases"]

LOGIN_SECONDS, BEGIN_SECONDS, END_SECONDS = 30, 30, 60
"""How long a training waits for a user who is asked for a key, for the service to answer, and to take what is left."""


@dataclass
class WeightsAndBiases(Tracker):
    """Log to Weights & Biases; what it keeps on this machine is in the run's folder."""

    package: ClassVar[str] = "wandb"

    project: str = field(default="sglr", metadata={"help": "project"})
    entity: str | None = field(default=None, metadata={"help": "user or team; default: your own"})
    mode: Literal["auto", "online", "offline"] = field(
        default="auto",
        metadata={"help": "offline writes files for wandb sync; auto: $WANDB_MODE, else online"},
    )
    artefacts: Artefacts = field(default="none", metadata={"help": ARTEFACTS})
    _session: Any = field(default=None, init=False, repr=False)

    def begin(self, run: Run, known: str | None) -> str:
        """Begin the run, or go on with it."""
        import wandb

        settings = wandb.Settings(
            console="off",
            silent=True,
            login_timeout=LOGIN_SECONDS,
            init_timeout=BEGIN_SECONDS,
            finish_timeout=END_SECONDS,
        )
        self._session = wandb.init(
            project=self.project,
            entity=self.entity,
            id=known or uuid4().hex[:12],
            name=title(run),
            config=settings_told(run),
            dir=str(run.path),
            mode=None if self.mode == "auto" else self.mode,
            resume="allow" if known else None,
            reinit="create_new",  # the user's script may have a run of its own
            settings=settings,
        )
        self._session.define_metric("*", step_metric="epoch")
        return str(self._session.id)

    def log(self, record: Mapping[str, Any]) -> None:
        """Log the figures; they are drawn over ``epoch``."""
        self._session.log({"epoch": record["epoch"], **figures(record)})

    def finish(self, run: Run) -> None:
        """Set the summary's figures, and send the artefacts, as one."""
        import wandb

        self._session.summary.update(summary_figures(run))
        files = artefacts_of(run, self.artefacts)
        if files:
            artefact = wandb.Artifact(f"run-{self._session.id}", type="run")
            for path in files:
                artefact.add_file(str(path))
            self._session.log_artifact(artefact)

    def close(self, outcome: Literal["done", "stopped", "failed"]) -> None:
        """Send what is left."""
        session, self._session = self._session, None
        if session is not None:
            session.finish(exit_code=0 if outcome == "done" else 1)
