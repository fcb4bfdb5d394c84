"""MLflow: a tracking server, or a database on this machine."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from getpass import getuser
from pathlib import Path
from tempfile import gettempdir
from typing import Any, ClassVar, Literal

from sglr.core.errors import UsageError
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

__all__ = ["MLflow"]

ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
"""What is set where the user sets nothing: a server that is down costs seconds, not minutes; nothing else is told."""

CREATE_SECONDS = 300
"""How long a run waits for another to create the tables of a database."""

STATUS = {"done": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}
MOST_PARAMETERS, LONGEST = 100, 500
"""What MLflow takes in one request, and of one value on servers of any age."""


@dataclass
class MLflow(Tracker):
    """Log to MLflow."""

    package: ClassVar[str] = "mlflow"

    uri: str | None = field(
        default=None,
        metadata={"help": "sqlite:///FILE, or http://HOST:PORT; default: $MLFLOW_TRACKING_URI, else MLflow's own"},
    )
    experiment: str = field(default="sglr", metadata={"help": "MLflow's experiment"})
    artefacts: Artefacts = field(default="none", metadata={"help": ARTEFACTS})
    _client: Any = field(default=None, init=False, repr=False)
    _run_id: str = field(default="", init=False, repr=False)

    def check(self) -> None:
        """Refuse an address that MLflow takes for a folder: it writes no folders any more."""
        for name, value in ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        if self.uri is not None and ":" not in self.uri and self.uri != "databricks":
            remedy = "give mlflow:uri=sqlite:///FILE, or mlflow:uri=http://HOST:PORT"
            raise UsageError("track", f"mlflow:uri={self.uri}", "is no address of MLflow", remedy)
        if self.uri is not None and self.uri.startswith("file:"):
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        super().check()

    def begin(self, run: Run, known: str | None) -> str:
        """Create the run, or open it again."""
        from mlflow import MlflowClient

        with self._alone():
            self._client = MlflowClient(tracking_uri=self.uri)
            number = "" if known else self._number()
        if known:
            self._run_id = known
            self._client.update_run(known, status="RUNNING")
            return known
        self._run_id = self._client.create_run(number, run_name=title(run)).info.run_id
        self._tell_settings(run)
        return self._run_id

    def log(self, record: Mapping[str, Any]) -> None:
        """Log the figures; the step is the epoch."""
        self._log(figures(record), record["epoch"])

    def finish(self, run: Run) -> None:
        """Log the summary's figures, and send the artefacts."""
        self._log(summary_figures(run), len(run.history))
        for path in artefacts_of(run, self.artefacts):
            self._client.log_artifact(self._run_id, str(path))

    def close(self, outcome: Literal["done", "stopped", "failed"]) -> None:
        """Set the run's status."""
        client, self._client = self._client, None
        if client is not None and self._run_id:
            client.set_terminated(self._run_id, status=STATUS[outcome])

    def _alone(self) -> AbstractContextManager[Any]:
        """Keep the user's other runs from opening a database of this machine: two at once can't create its tables."""
        from filelock import FileLock
        from mlflow import get_tracking_uri

        if not (self.uri or get_tracking_uri()).startswith("sqlite:"):
            return nullcontext()
        return FileLock(Path(gettempdir()) / f"sglr-mlflow-{getuser()}.lock", timeout=CREATE_SECONDS)

    def _number(self) -> str:
        """Return the experiment's number; who trains beside this one may create it at the same moment."""
        from mlflow.exceptions import MlflowException

        found = self._client.get_experiment_by_name(self.experiment)
        if found is None:
            try:
                return str(self._client.create_experiment(self.experiment))
            except MlflowException:
                found = self._client.get_experiment_by_name(self.experiment)
                if found is None:
                    raise
        return str(found.experiment_id)

    def _tell_settings(self, run: Run) -> None:
        from mlflow.entities import Param

        told = [Param(key, str(value)[:LONGEST]) for key, value in settings_told(run).items() if value != ""]
        for first in range(0, len(told), MOST_PARAMETERS):
            self._client.log_batch(self._run_id, params=told[first : first + MOST_PARAMETERS])

    def _log(self, told: Mapping[str, float], epoch: int) -> None:
        from mlflow.entities import Metric

        now = time.time_ns() // 1_000_000
        self._client.log_batch(self._run_id, [Metric(name, float(value), now, epoch) for name, value in told.items()])
